//! A double of Slurm's commands, for faults that a real Slurm cannot be made to show at will.
//!
//! It keeps one line per accepted job, and one per task of an array. `faults` holds what the next sbatch commands do, one
//! word per line: `hang` (never queued), `hang-queued`, `banner`, `fail-queued`,
//! `refuse-queued`, `refuse`, `refuse-array` (a plain job succeeds), `away`, `no-id`; an empty list
//! means success. While the file
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
tasks=
for a in "$@"; do
  case $a in
    --comment=*) m=${{a#--comment=}};;
    --array=*) for r in $(echo ${{a#--array=}} | tr , ' '); do tasks="$tasks $(seq -s' ' ${{r%-*}} ${{r#*-}})"; done;;
  esac
done
exec 9>>$D/lock; flock 9
echo "$*" >> $D/calls
fault=$(head -n 1 $D/faults); sed -i 1d $D/faults
queue() {{
  id=$(($(wc -l < $D/jobs) + 1))
  if [ -z "$tasks" ]; then echo "$id|$m|$id|N/A" >> $D/jobs; return; fi
  n=$id; for t in $tasks; do echo "$n|$m|$id|$t"; n=$(($n + 1)); done >> $D/jobs
}}
if [ "$fault" = refuse-array ]; then if [ -n "$tasks" ]; then fault=refuse; else fault=; fi; fi
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
while IFS='|' read -r id m a i; do
  t=$s; if [ -e $D/state.$id ]; then t=$(cat $D/state.$id); fi
  echo "$id|$a|$i|gateway|$t|0|None|$m|$m|"
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

    /// Markers of the accepted jobs; a task's has its index behind it, as `…:hash_3`.
    pub(crate) fn markers(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("jobs")).unwrap();
        let marker = |line: &str| {
            let fields: Vec<&str> = line.split('|').collect();
            match fields[3] {
                "N/A" => fields[1].to_owned(),
                task => format!("{}_{task}", fields[1]),
            }
        };
        text.lines().map(marker).collect()
    }

    /// Forgets one job, as if it had been cancelled before it had one: the n-th, from 1.
    pub(crate) fn lose_one(&self, id: usize) {
        let text = fs::read_to_string(self.dir.join("jobs")).unwrap();
        let mark = format!("{id}|");
        let rest = text.lines().filter(|line| !line.starts_with(&mark));
        let rest: Vec<&str> = rest.collect();
        fs::write(self.dir.join("jobs"), rest.join("\n") + "\n").unwrap();
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
