//! Unix users that a test makes and removes: for what runs as somebody else.

use std::process::{Command, Stdio};

/// Two users and a group that only the first is in; removed on drop.
#[derive(Debug)]
pub struct Users {
    /// In the group.
    pub first: String,
    /// Not in the group.
    pub second: String,
    /// The group.
    pub group: String,
}

impl Users {
    /// Makes them; where this process may not, prints `SKIP:` and returns nothing.
    ///
    /// # Panics
    /// If root cannot make users.
    #[must_use]
    pub fn make_or_skip() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP: only root can make users and act as them");
            return None;
        }
        let name = |letter: char| format!("mizar{letter}{}", std::process::id());
        let users = Self {
            first: name('a'),
            second: name('b'),
            group: name('g'),
        };
        let made = succeeds(&["groupadd", &users.group])
            && succeeds(&[
                "useradd",
                "--no-create-home",
                "--groups",
                &users.group,
                &users.first,
            ])
            && succeeds(&["useradd", "--no-create-home", &users.second]);
        assert!(
            made,
            "useradd and groupadd, of the package passwd, make users"
        );
        Some(users)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        succeeds(&["userdel", &self.first]);
        succeeds(&["userdel", &self.second]);
        succeeds(&["groupdel", &self.group]);
    }
}

fn succeeds(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}
