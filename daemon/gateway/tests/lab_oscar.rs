//! OSCAR's own client, unmodified, on a real Slurm: `oscar_client.py` does what users do.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod harness;

use std::fs;

use harness::{Gateway, oscar, secret};
use mizar_lab::{Lab, venv};

#[test]
fn the_client_of_oscar_does_a_services_whole_life() {
    let Some(python) = venv::python_with("moto.server, oscar_python.client") else {
        return;
    };
    let lab = Lab::builder()
        .nodes(1)
        .cpus(16)
        .memory_mib(16_000)
        .slurm_conf_extra("SchedulerParameters=batch_sched_delay=0,sched_interval=1\n")
        .start_or_skip();
    let Some(lab) = lab else { return };
    let dir = lab.dir().join("gateway");
    let store = dir.join("store");
    fs::create_dir_all(&store).unwrap();
    secret(&dir.join("users"), oscar::LOGIN);
    let extra = format!(
        "[oscar]\nname = \"lab\"\nuser_file = \"users\"\nstores = {{ \"minio.default\" = {{ folder = \"{}\" }} }}\n\
         [slurm]\nconf = \"{}\"\npoll_ms = 300\ngrace_ms = 2000\n",
        store.display(),
        lab.slurm_conf().display()
    );
    let mut gateway = Gateway::prepare(&dir, &extra, "");
    gateway.start();
    oscar::run_client(&python, "oscar_client.py", &gateway, &[store.as_os_str()]);
    let failed: Vec<_> = gateway
        .jobs()
        .into_iter()
        .filter(|job| job["state"] == "failed")
        .collect();
    assert_eq!(
        (failed.len(), failed[0]["exit_code"].as_i64()),
        (1, Some(7))
    );
    assert!(
        failed[0]["reason"]
            .as_str()
            .unwrap()
            .ends_with("it went wrong"),
        "{failed:?}"
    );
    assert!(!gateway.log().contains("hush") && !gateway.log().contains("correct horse"));
}
