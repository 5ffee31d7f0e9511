//! A double of Slurm's commands, for faults that a real Slurm cannot be made to show at will.
//!
//! It keeps one line per accepted job. `faults` holds what the next sbatch commands do, one
//! word per line: `hang` (never queued), `hang-queued`, `banner`, `fail-queued`,
//! `refuse-queued`, `refuse`, `away`, `no-id`; an empty list means success. While the file
//! `away` exists, squeue finds no controller.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::program;

/// The double and its state.
pub(crate) struct Double {
    dir: PathBuf,
}

impl Double {
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = dir.join("double");
        fs::create_dir(&dir).unwrap();
        for name in ["jobs", "faults", "calls"] {
            fs::write(dir.join(name), "").unwrap();
        }
        fs::write(dir.join("state"), "COMPLETED").unwrap();
        let d = dir.display();
        program(
            &dir.join("sbatch"),
            &format!(
                r#"#!/bin/sh
D={d}
for a in "$@"; do case $a in --comment=*) m=${{a#--comment=}};; esac; done
exec 9>>$D/lock; flock 9
echo "$*" >> $D/calls
fault=$(head -n 1 $D/faults); sed -i 1d $D/faults
queue() {{ id=$(($(wc -l < $D/jobs) + 1)); echo "$id|$m" >> $D/jobs; }}
case $fault in
  hang) exec 9>&-; sleep 1000;;
  hang-queued) queue; exec 9>&-; sleep 1000;;
  banner) queue; echo "sbatch: error: Welcome, all is well" >&2; echo $id;;
  fail-queued) queue; echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1;;
  refuse-queued) queue; echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2; exit 1;;
  refuse) echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2; exit 1;;
  away) echo "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)" >&2; exit 1;;
  no-id) exit 0;;
  *) queue; echo $id;;
esac
"#
            ),
        );
        program(
            &dir.join("squeue"),
            &format!(
                r#"#!/bin/sh
D={d}
if [ -e $D/away ]; then
  echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1
fi
n=$(ls $D/asking 2>/dev/null | wc -l)
mkdir -p $D/asking; touch $D/asking/$$
echo $(($n + 1)) >> $D/asked
s=$(cat $D/state)
while IFS='|' read -r id m; do
  t=$s; if [ -e $D/state.$id ]; then t=$(cat $D/state.$id); fi
  echo "$id|gateway|$t|0|None|$m|$m|"
done < $D/jobs
rm -f $D/asking/$$
"#
            ),
        );
        program(
            &dir.join("sacct"),
            "#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n",
        );
        program(&dir.join("scancel"), "#!/bin/sh\nexit 0\n");
        program(
            &dir.join("sinfo"),
            "#!/bin/sh\necho 'n1|idle|4|8000|gpu:2|'\n",
        );
        Self { dir }
    }

    /// The `[slurm]` table that uses the double, with short times.
    pub(crate) fn config(&self) -> String {
        format!(
            "[slurm]\nbin_dir = \"{}\"\npoll_ms = 100\ngrace_ms = 300\nsubmit_ms = 1500\nbackoff_ms = 50\nmax_attempts = 3\n",
            self.dir.display()
        )
    }

    pub(crate) fn faults(&self, faults: &[&str]) {
        fs::write(self.dir.join("faults"), faults.join("\n") + "\n").unwrap();
    }

    pub(crate) fn set_away(&self, away: bool) {
        let path = self.dir.join("away");
        if away {
            fs::write(path, "").unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }

    pub(crate) fn set_state(&self, state: &str) {
        fs::write(self.dir.join("state"), state).unwrap();
    }

    /// The same of one job: the n-th that was accepted, from 1.
    pub(crate) fn set_job_state(&self, id: usize, state: &str) {
        fs::write(self.dir.join(format!("state.{id}")), state).unwrap();
    }

    /// Forgets all jobs, as a controller does that lost its state.
    pub(crate) fn lose(&self) {
        fs::write(self.dir.join("jobs"), "").unwrap();
    }

    /// Markers of the accepted jobs.
    pub(crate) fn markers(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("jobs")).unwrap();
        text.lines()
            .map(|line| line.split_once('|').unwrap().1.to_owned())
            .collect()
    }

    /// Most squeue commands that ran at once, and how many there were.
    pub(crate) fn questions(&self) -> (u32, usize) {
        let text = fs::read_to_string(self.dir.join("asked")).unwrap_or_default();
        let counts: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        (counts.iter().copied().max().unwrap_or(0), counts.len())
    }

    /// Command lines of all sbatch commands.
    pub(crate) fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("calls"))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}
