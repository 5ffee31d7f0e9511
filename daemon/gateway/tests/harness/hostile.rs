//! A gateway to which hostile values are sent. The double of sbatch runs each job's script, and that of
//! the container runtime writes down its words.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mizar_gateway::service::ALLOWED_OPTIONS;
use serde_json::{Value, json};

use crate::harness::{self, Gateway, agent, program, secret};

/// Options that the gateway itself gives to sbatch.
const OWN_OPTIONS: [&str; 6] = [
    "parsable", "comment", "job-name", "chdir", "output", "export",
];

/// The file that any command among the values would make.
const CANARY: &str = "CANARY";

/// What somebody may write into a field. `@` is the canary's path.
const HOSTILE: [&str; 26] = [
    "$(touch @)",
    "`touch @`",
    "; touch @;",
    "| touch @",
    "&& touch @ &",
    "> @",
    "\ntouch @\n",
    "x\r\ntouch @\r\n",
    "#!/bin/sh\n#SBATCH --uid=0\ntouch @",
    "' ; touch @ ; '",
    "\" ; touch @ ; \"",
    "$IFS$(touch$IFS@)",
    "--wrap=touch @",
    "--uid=0",
    "-D/",
    "--output=@",
    "--export=ALL,LD_PRELOAD=@",
    "../../../../../..@",
    "@",
    "..",
    ".",
    "a\0touch @",
    "%j%x%u\\",
    "\u{1b}]0;x\u{7}\u{202e}",
    "' OR 1=1; DROP TABLE jobs; --",
    "{{ @ }}<script>",
];

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) gateway: Gateway,
    pub(crate) agent: ureq::Agent,
}

const SBATCH: &str = r#"#!/bin/sh
D=@D
exec 9>>$D/lock; flock 9
id=$(($(wc -l < $D/jobs) + 1))
while [ $# -gt 0 ]; do
  case $1 in
    --comment=*) m=${1#--comment=};;
    --chdir=*) dir=${1#--chdir=};;
    --*) ;;
    *) break;;
  esac
  printf '%s\0' "$1" >> $D/options
  shift
done
echo "$id|$m" >> $D/jobs
exec 9>&-
(cd "$dir" && exec "$@" > "$dir/slurm-$id.out" 2>&1 < /dev/null) 
echo $id
"#;

const SQUEUE: &str = r#"#!/bin/sh
while IFS='|' read -r id m; do echo "$id|$id|N/A|gateway|COMPLETED|0|None|$m|$m|"; done < @D/jobs
"#;

/// Writes down the words that it is called with, and the variable A that the container would get.
const CONTAINER: &str = r#"#!/bin/sh
printf '%s\0' "$@" > "$(mktemp @D/words/XXXXXXXX)"
printf '%s\0' "$APPTAINERENV_A" >> @D/values
"#;

/// Takes its event's subject as an argument, and writes down what it got.
const SCRIPT: &str = "#!/bin/sh\nfor word in \"$@\"; do printf '%s\\0' \"$word\" >> @D/got; done\n";

pub(crate) fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let double = path.join("double");
    fs::create_dir(&double).unwrap();
    fs::create_dir_all(double.join("store/b")).unwrap();
    fs::create_dir(double.join("words")).unwrap();
    fs::write(double.join("jobs"), "").unwrap();
    let filled = |text: &str| text.replace("@D", &double.display().to_string());
    for (name, text) in [
        ("sbatch", SBATCH),
        ("squeue", SQUEUE),
        ("sacct", "#!/bin/sh\nexit 1\n"),
        ("scancel", "#!/bin/sh\nexit 0\n"),
        ("sinfo", "#!/bin/sh\necho 'n1|idle|4|8000||'\n"),
        ("container", CONTAINER),
        ("script", SCRIPT),
    ] {
        program(&double.join(name), &filled(text));
    }
    secret(&path.join("users"), "admin:correct horse\n");
    let (d, own) = (double.display(), harness::PROGRAM);
    let extra = format!(
        "[slurm]\nbin_dir = \"{d}\"\npoll_ms = 500\ngrace_ms = 300\nsubmit_parallel = 8\n\
         [containers]\nruntime = \"apptainer\"\nprogram = \"{d}/container\"\nsupervisor = \"{own}\"\nhost_paths = [\"/data\"]\n\
         [interlink]\ncreate_wait_ms = 0\n[oscar]\nuser_file = \"users\"\nrun_ms = 1\nstores = {{ \"minio.default\" = {{ folder = \"{d}/store\" }} }}\n\
         [limits]\nbody_bytes = 65536\n"
    );
    let services = format!(
        "[[service]]\nname = \"one\"\nscript = \"{d}/script\"\n\
         [[service.args]]\nname = \"subject\"\nfrom = \"subject\"\ndefault = \"none\"\n\
         [[service.args]]\nname = \"key\"\nfrom = \"s3.key\"\ndefault = \"none\"\ntype = \"path\"\nunder = \"/data\"\n"
    );
    let mut gateway = Gateway::prepare(path, &extra, &services);
    gateway.start();
    let agent = agent(Duration::from_secs(30));
    Site {
        folder,
        gateway,
        agent,
    }
}

impl Site {
    pub(crate) fn canary(&self) -> PathBuf {
        self.folder.path().join(CANARY)
    }

    pub(crate) fn hostile(&self) -> Vec<String> {
        let canary = self.canary().display().to_string();
        HOSTILE
            .iter()
            .map(|text| text.replace('@', &canary))
            .collect()
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> u16 {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.gateway.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .agent
            .run(request.body(body.to_owned()).unwrap())
            .unwrap();
        answer.status().as_u16()
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let path = self.folder.path().join("double").join(name);
        let text = fs::read(path).unwrap_or_default();
        let all = text.split(|byte| *byte == 0);
        let mut all: Vec<_> = all
            .map(|one| String::from_utf8(one.to_vec()).unwrap())
            .collect();
        all.pop();
        all
    }

    /// Waits until all that was taken has been a job, and looks at what came of it.
    pub(crate) fn check(&self) -> Vec<Value> {
        let jobs = self.gateway.wait_jobs(Duration::from_secs(120), |jobs| {
            let ended = |job: &Value| {
                matches!(
                    job["state"].as_str(),
                    Some("completed" | "dead" | "cancelled")
                )
            };
            jobs.iter().all(ended)
        });
        assert!(!self.canary().exists(), "a value was run");
        let folder = self.folder.path();
        let listed: BTreeSet<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = [
            "double",
            "gateway.toml",
            "log",
            "services.toml",
            "state",
            "users",
            "work",
        ];
        assert_eq!(listed, expected.map(str::to_owned).into());
        for option in self.list("options") {
            let name = option.trim_start_matches("--").split('=').next().unwrap();
            let known = OWN_OPTIONS.contains(&name) || ALLOWED_OPTIONS.contains(&name);
            assert!(
                known && !option.contains(['\n', '\r']),
                "sbatch got {option:?}"
            );
        }
        let shown = self.gateway.log();
        assert!(
            shown
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "a value ends a line of the log"
        );
        jobs
    }

    /// What is answered to bytes as they are.
    pub(crate) fn raw(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.gateway.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // It may have hung up before all is sent.
        let _ = stream.write_all(body);
        let started = Instant::now();
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count) = stream.read(&mut piece) {
            answer.extend(&piece[..count]);
            let is_whole = answer.windows(4).any(|end| end == b"\r\n\r\n");
            if count == 0 || is_whole || started.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Puts a value into a place of a document; the last word `*` is a key that is the value itself.
pub(crate) fn put(document: &Value, pointer: &str, value: &str) -> Value {
    let mut changed = document.clone();
    let (place, last) = pointer.rsplit_once('/').unwrap();
    match (changed.pointer_mut(place), last) {
        (Some(Value::Object(map)), "*") => map.insert(value.to_owned(), json!("v")),
        (Some(Value::Object(map)), last) => map.insert(last.replace("~1", "/"), json!(value)),
        (Some(Value::Array(list)), last) => Some(std::mem::replace(
            &mut list[last.parse::<usize>().unwrap()],
            json!(value),
        )),
        _ => panic!("there is no {pointer}"),
    };
    changed
}

/// What stands before a container's image are the gateway's own words.
pub(crate) fn words_are_harmless(site: &Site) {
    let work = site.folder.path().join("work").display().to_string();
    let calls: Vec<_> = fs::read_dir(site.folder.path().join("double/words"))
        .unwrap()
        .map(|entry| format!("words/{}", entry.unwrap().file_name().display()))
        .map(|name| site.list(&name))
        .collect();
    assert!(calls.len() > 100, "{}", calls.len());
    for call in calls {
        let mut words = call.iter().map(String::as_str);
        assert!(matches!(words.next(), Some("exec" | "run")), "{call:?}");
        while let Some(word) = words.next().filter(|word| word.starts_with('-')) {
            match word {
                "--no-eval" | "--cleanenv" => {}
                "--pwd" => drop(words.next()),
                "--bind" => {
                    let from = words.next().unwrap().split(':').next().unwrap();
                    let is_ours = from.starts_with(&work) || from.starts_with("/data");
                    assert!(
                        is_ours && !from.split('/').any(|part| part == ".."),
                        "{call:?}"
                    );
                }
                _ => panic!("the runtime got the option {word:?}: {call:?}"),
            }
        }
    }
}
