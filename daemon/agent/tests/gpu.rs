//! GPUs through the real `mizard` and the double of NVML: replayed scripts with known answers,
//! not hardware.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use mizar_api::{LiveJob, Request};
use mizar_core::energy::{self, Reading, Rules};
use mizar_core::ids::{JobId, StepId};
use mizar_record::model::{GpuSample, NodeRecord, UNKNOWN, limits};
use mizar_record::reader::read_job;
use support::{Daemon, Task, registration, until};

const JOB: JobId = JobId(7);
const STEP: StepId = StepId(0);
const MIB: u64 = 1 << 20;

/// A daemon whose NVML plays a script.
struct Node {
    daemon: Daemon,
    folder: tempfile::TempDir,
}

impl Node {
    fn start(script: &str, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library =
            mizar_gpu_trace::place(folder.path(), "libmizar_fake_nvml.so", script).unwrap();
        let keys = format!("flush_ms = 200\nnvml_library = {library:?}\n{keys}");
        Self {
            daemon: Daemon::start(&keys),
            folder,
        }
    }

    /// A job that sees these GPUs; `slurm` is Slurm's own list.
    fn register(&self, tasks: &[&Task], visible: Option<&str>, slurm: Option<&str>) {
        let mut step = registration(JOB, STEP, tasks);
        for task in &mut step.tasks {
            task.visible_gpus = visible.map(str::to_owned);
        }
        let slurm = slurm.map(|list| ("SLURM_STEP_GPUS".to_owned(), list.to_owned()));
        step.variables.extend(slurm);
        self.daemon
            .ask(Request::RegisterStep(Box::new(step)))
            .unwrap();
    }

    fn live(&self) -> Option<LiveJob> {
        self.daemon.job(JOB)
    }

    /// The job's part of the record here, if it has been written.
    fn record(&self) -> Option<NodeRecord> {
        read_job(&self.daemon.record(JOB)).ok()?.nodes.pop()
    }

    /// Ends the job and gives its finished record.
    fn finish(&self) -> NodeRecord {
        self.daemon.ask(Request::JobEnd { job: JOB }).unwrap();
        until("the record is finished", || {
            let record = read_job(&self.daemon.record(JOB)).ok()?;
            record.complete.then_some(record)
        })
        .nodes
        .remove(0)
    }
}

fn now_s() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

fn of(record: &NodeRecord, gpu: u32) -> Vec<GpuSample> {
    let rows = record.gpu_samples.iter().filter(|row| row.gpu == gpu);
    rows.copied().collect()
}

fn kinds(record: &NodeRecord, gpu: u32) -> Vec<&str> {
    let events = record.gpu_events.iter().filter(|event| event.gpu == gpu);
    events.map(|event| event.kind.as_str()).collect()
}

/// Eight GPUs; number 5's power rises from 100 W to 300 W two seconds after the start.
fn eight_gpus(start_s: f64, pids: &[u32]) -> String {
    let mut script =
        format!("label = \"eight\"\nlibrary = \"12.1\"\nstart_unix_s = {start_s:.6}\n");
    for gpu in 0..8_usize {
        script += &format!(
            "[[gpu]]\nname = \"NVIDIA H100 80GB HBM3\"\nuuid = \"GPU-{gpu}\"\nminor = {gpu}\n\
             pci = \"00000000:0{gpu}:00.0\"\npower_w = [[0, 100], [2, {}]]\nbusy = [[0, 0.{gpu}]]\n\
             memory_used_mib = [[0, {}]]\nlimits = [[0, 4]]\ntemperature_c = [[0, 60]]\n\
             counter = {{ start_uj = 5000000 }}\n",
            if gpu == 5 { 300 } else { 100 },
            100 * gpu,
        );
        if let Some(pid) = gpu.checked_sub(4).and_then(|place| pids.get(place)) {
            script += &format!(
                "process = [{{ pid = {pid}, memory_mib = 50, busy = 0.5 }}, \
                 {{ pid = 1, memory_mib = 9, busy = 0.1 }}]\n"
            );
        }
    }
    script
}

#[test]
fn a_job_gets_its_own_gpus_with_ranks_energy_and_the_label_of_the_double() {
    let tasks = [Task::sleeping(), Task::sleeping()];
    let pids = tasks.each_ref().map(|task| task.pid() as u32);
    let start_s = now_s();
    let node = Node::start(
        &eight_gpus(start_s, &pids),
        "sample_ms = 100\nmetrics_listen = \"127.0.0.1:0\"\n",
    );
    // Renumbered for the task, as under ConstrainDevices.
    node.register(&[&tasks[0], &tasks[1]], Some("0,1"), Some("4,5"));
    let live = until("both GPUs are shown with their ranks", || {
        let job = node.live()?;
        let tasks = &job.steps.first()?.tasks;
        (job.gpus.len() == 2 && tasks[0].gpus == [0] && tasks[1].gpus == [1]).then_some(job)
    });
    let shown = &live.gpus[1];
    assert_eq!(
        (shown.uuid.as_str(), shown.busy, shown.replayed),
        ("GPU-5", Some(0.5), true)
    );
    assert_eq!(shown.memory_used_bytes, Some(500 * MIB));
    let address = node.daemon.log();
    let address = address.split("address=").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap().trim_matches('"');
    let page = ureq::get(format!("http://{address}/metrics"))
        .call()
        .unwrap();
    let page = page.into_body().read_to_string().unwrap();
    for line in [
        "mizar_gpu_busy_ratio{gpu=\"5\",uuid=\"GPU-5\"} 0.5",
        "mizar_gpu_job{gpu=\"4\",uuid=\"GPU-4\",job=\"7\"} 1",
        "mizar_gpu_throttled{gpu=\"5\",uuid=\"GPU-5\"} 1",
    ] {
        assert!(page.contains(line), "{page}");
    }
    assert!(
        page.contains("replayed=\"true\"") && !page.contains("GPU-3"),
        "{page}"
    );
    while now_s() < start_s + 4.0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let record = node.finish();
    let uuids: Vec<&str> = record.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    assert_eq!(uuids, ["GPU-4", "GPU-5"]);
    assert!(record.gpus.iter().all(|gpu| gpu.replayed));
    assert!(
        record.gpus[0].source.contains("replaying \"eight\""),
        "{:?}",
        record.gpus[0]
    );
    assert_eq!(record.gpus[0].pci.as_deref(), Some("0000:04:00.0"));
    // Due on the wall clock's grid, as on every other node.
    let mut late_ms: Vec<i64> = of(&record, 0)
        .iter()
        .map(|row| row.time_ns / 1_000_000 % 100)
        .collect();
    late_ms.sort_unstable();
    assert!(late_ms[late_ms.len() / 2] < 30, "{late_ms:?}");
    // The exact integral over the readings, from the script and not from the meter.
    for (gpu, later_w) in [(0, 100.0), (1, 300.0)] {
        let rows = of(&record, gpu);
        assert!(rows.len() > 20, "{}", rows.len());
        let second = |row: &GpuSample| row.time_ns as f64 * 1e-9 - start_s;
        let until_s = |second: f64| 100.0 * second.min(2.0) + later_w * (second - 2.0).max(0.0);
        let (from_s, to_s) = (second(&rows[0]), second(rows.last().unwrap()));
        let exact = until_s(to_s) - until_s(from_s);
        let rules = Rules::of_device(0.1, 300_000_000);
        let counted = energy::total(rules, rows.iter().map(|row| reading(row, true)));
        let integrated = energy::total(rules, rows.iter().map(|row| reading(row, false)));
        for found in [counted, integrated] {
            let joules = found.joules.unwrap();
            let error = (joules - exact).abs();
            println!(
                "GPU {gpu}: {joules:.2} J, exactly {exact:.2} J, ± {:.2} J",
                found.bound_joules
            );
            assert!(
                error <= found.bound_joules + 0.01,
                "{joules} J is not {exact} J: {found:?}"
            );
            assert!(found.bound_joules < 0.25 * exact);
        }
        let row = rows[rows.len() / 2];
        assert_eq!(row.clock_limits, limits::POWER_CAP);
        assert_eq!((row.ecc_corrected, row.pcie_rx_bytes), (UNKNOWN, UNKNOWN));
        assert!(row.sm_active.is_nan() && row.temperature_c == 60.0);
    }
    // Each rank's own process; that of another user is not the job's.
    let rows = &record.gpu_process_samples;
    assert!(
        rows.iter()
            .all(|row| row.rank == row.gpu && row.memory_bytes == 50 * MIB)
    );
    assert!(rows.iter().any(|row| row.busy == 0.5), "{rows:?}");
    assert!(rows.iter().all(|row| row.busy.is_nan() || row.busy == 0.5));
}

fn reading(row: &GpuSample, with_counter: bool) -> Reading {
    Reading {
        time_ns: row.time_ns,
        interval_ns: row.interval_ns,
        counter_uj: with_counter.then_some(row.energy_uj),
        watts: Some(f64::from(row.power_watts)),
    }
}

#[test]
fn a_job_without_gpus_costs_no_call_of_the_library() {
    let task = Task::sleeping();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("calls");
    let script = format!("journal = {journal:?}\n{}", eight_gpus(now_s(), &[]));
    let node = Node::start(&script, "sample_ms = 100\n");
    node.register(&[&task], Some("NoDevFiles"), None);
    until("it is sampled", || {
        (node.record()?.task_samples.len() > 10).then_some(())
    });
    assert!(!journal.exists());
    // Slurm's list of nothing that is here: opened to look, and not read.
    let other = Task::sleeping();
    let mut step = registration(JobId(8), STEP, &[&other]);
    step.variables
        .push(("SLURM_STEP_GPUS".to_owned(), "77".to_owned()));
    node.daemon
        .ask(Request::RegisterStep(Box::new(step)))
        .unwrap();
    until("the library is opened", || journal.exists().then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let calls = std::fs::read_to_string(&journal).unwrap();
    assert!(!calls.contains("nvmlDeviceGetUtilizationRates"), "{calls}");
}

#[test]
fn a_gpu_that_nobody_named_is_found_by_its_processes() {
    let tasks = [Task::sleeping(), Task::sleeping()];
    let pids = tasks.each_ref().map(|task| task.pid() as u32);
    let node = Node::start(&eight_gpus(now_s(), &pids), "sample_ms = 100\n");
    node.register(&[&tasks[0], &tasks[1]], None, None);
    let live = until("both GPUs are found", || {
        node.live().filter(|job| job.gpus.len() == 2)
    });
    let uuids: Vec<&str> = live.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    assert_eq!(uuids, ["GPU-4", "GPU-5"]);
    let record = node.finish();
    assert!(record.gpu_samples.iter().all(|row| row.gpu < 2));
    assert!(!record.gpu_process_samples.is_empty());
}

#[test]
fn an_instance_comes_with_its_whole_gpu_and_its_own_processes() {
    let task = Task::sleeping();
    let script = format!(
        "[[gpu]]\nname = \"NVIDIA H100\"\nuuid = \"GPU-w\"\npower_w = [[0, 200]]\ncounter = {{}}\n\
         memory_used_mib = [[0, 3000]]\nsm_active = [[0, 0.3]]\n\
         process = [{{ pid = {}, memory_mib = 70, instance = 5 }}, {{ pid = 1, memory_mib = 9, instance = 9 }}]\n\
         mig = [{{ uuid = \"MIG-1\", instance = 9, slices = 2, memory_total_mib = 20096 }},\n\
         {{ uuid = \"MIG-2\", instance = 5, slices = 1, memory_total_mib = 9984, memory_used_mib = [[0, 80]], sm_active = [[0, 0.1]] }}]\n",
        task.pid()
    );
    let node = Node::start(&script, "sample_ms = 100\n");
    node.register(&[&task], Some("MIG-2"), None);
    until("a rank is seen on it", || {
        let record = node.record()?;
        (record.gpu_process_samples.len() > 5).then_some(())
    });
    let record = node.finish();
    let known: Vec<_> = record
        .gpus
        .iter()
        .map(|gpu| (gpu.uuid.as_str(), gpu.parent, gpu.slices))
        .collect();
    assert_eq!(
        known,
        [
            ("GPU-w", None, Some((7, 7))),
            ("MIG-2", Some(0), Some((1, 7)))
        ]
    );
    let instance = of(&record, 1);
    assert!(
        instance
            .iter()
            .all(|row| row.memory_used_bytes == 80 * MIB && row.energy_uj == UNKNOWN)
    );
    let active: Vec<f32> = instance
        .iter()
        .map(|row| row.sm_active)
        .filter(|share| !share.is_nan())
        .collect();
    assert!(
        !active.is_empty() && active.iter().all(|share| (share - 0.1).abs() < 1e-3),
        "{active:?}"
    );
    assert!(of(&record, 0).iter().all(|row| row.energy_uj != UNKNOWN));
    assert!(
        record
            .gpu_process_samples
            .iter()
            .all(|row| row.gpu == 1 && row.rank == 0)
    );
}

#[test]
fn a_hung_driver_a_lost_gpu_and_bad_counters_cost_their_own_gpu_alone() {
    let task = Task::sleeping();
    let start_s = now_s();
    let mut script = format!("start_unix_s = {start_s:.6}\n");
    for (gpu, trouble) in [
        "hang = [[1.0, 4.0]]",
        "vanish = [[1.5, 99]]\nxid = [[1.4, 79]]",
        "counter = { start_uj = 9000000000, backwards = [[2.0, 5e9]] }",
        "counter = { frozen = [[1.0, 99]] }",
        "counter = { start_uj = 4294867296000, bits = 32 }",
    ]
    .iter()
    .enumerate()
    {
        let counter = if trouble.contains("counter") {
            ""
        } else {
            "counter = {}\n"
        };
        script += &format!(
            "[[gpu]]\nuuid = \"GPU-{gpu}\"\nminor = {gpu}\npower_w = [[0, 200]]\nbusy = [[0, 1]]\n{counter}{trouble}\n"
        );
    }
    let node = Node::start(&script, "sample_ms = 100\ngpu_deadline_ms = 400\n");
    node.register(&[&task], Some("0,1,2,3,4"), None);
    let record = until("all of it is in the record", || {
        let slowest = std::time::Instant::now();
        // The daemon answers all the while.
        node.live()?;
        assert!(slowest.elapsed().as_secs() < 2);
        let record = node.record()?;
        let has = |gpu, kind| kinds(&record, gpu).contains(&kind);
        (has(0, "back") && has(3, "counter_frozen") && now_s() > start_s + 5.0).then_some(record)
    });
    assert_eq!(kinds(&record, 0), ["hung", "back"]);
    let lost = kinds(&record, 1);
    assert!(
        lost.contains(&"vanished") && lost.contains(&"xid"),
        "{lost:?}"
    );
    let xid = record
        .gpu_events
        .iter()
        .find(|event| event.kind == "xid")
        .unwrap();
    assert_eq!((xid.gpu, xid.code), (1, Some(79)));
    assert_eq!(kinds(&record, 2), ["counter_backwards"]);
    assert_eq!(kinds(&record, 3), ["counter_frozen"]);
    assert_eq!(kinds(&record, 4), [] as [&str; 0]);
    // The gap of the hung one is there to see; the others were read on.
    let longest_ms = |gpu| {
        of(&record, gpu)
            .iter()
            .map(|row| row.interval_ns / 1_000_000)
            .max()
            .unwrap()
    };
    assert!(longest_ms(0) > 2000, "{}", longest_ms(0));
    for gpu in [2, 3, 4] {
        assert!(longest_ms(gpu) < 1500, "GPU {gpu}: {} ms", longest_ms(gpu));
    }
    assert!(of(&record, 1).last().unwrap().time_ns as f64 * 1e-9 < start_s + 1.6);
    assert!(node.folder.path().exists());
}

#[test]
fn a_driver_that_hangs_from_the_start_delays_nothing_but_its_gpus() {
    let task = Task::sleeping();
    let start_s = now_s();
    let script = format!(
        "start_unix_s = {start_s:.6}\n[[gpu]]\nuuid = \"GPU-0\"\nbusy = [[0, 1]]\nhang = [[0, 3]]\n"
    );
    let node = Node::start(&script, "sample_ms = 100\n");
    node.register(&[&task], Some("0"), None);
    let record = until("the job is sampled all the same", || {
        node.record()
            .filter(|record| record.task_samples.len() > 10)
    });
    assert!(now_s() < start_s + 3.0 && record.gpus.is_empty());
    until("its GPU is found when the driver answers", || {
        (node.record()?.gpu_samples.len() > 4).then_some(())
    });
}

#[test]
fn a_restarted_daemon_knows_the_jobs_gpus_by_their_numbers() {
    let task = Task::sleeping();
    let mut node = Node::start(&eight_gpus(now_s(), &[]), "sample_ms = 100\n");
    node.register(&[&task], None, Some("3,6"));
    until("they are read", || {
        (node.record()?.gpu_samples.len() > 4).then_some(())
    });
    node.daemon.kill();
    node.daemon.restart();
    let before = node.record().unwrap().gpu_samples.len();
    until("they are read again", || {
        (node.record()?.gpu_samples.len() > before + 4).then_some(())
    });
    let record = node.finish();
    let known: Vec<_> = record
        .gpus
        .iter()
        .map(|gpu| (gpu.gpu, gpu.uuid.as_str()))
        .collect();
    assert_eq!(known, [(0, "GPU-3"), (1, "GPU-6")]);
    let rows = of(&record, 1);
    assert!(rows.iter().all(|row| row.memory_used_bytes == 600 * MIB));
    // The first reading of each daemon has no interval.
    assert_eq!(rows.iter().filter(|row| row.interval_ns == 0).count(), 2);
}

#[test]
fn a_job_on_amds_gpus_gets_both_dies_of_a_package_and_its_energy_once() {
    let task = Task::sleeping();
    let folder = tempfile::tempdir().unwrap();
    let start_s = now_s();
    let script = format!(
        "label = \"a package\"\nlibrary = \"6.0.2\"\nstart_unix_s = {start_s:.6}\n\
         [[gpu]]\nname = \"AMD Instinct MI250X\"\nuuid = \"a1\"\npci = \"0000:c1:00.0\"\nminor = 128\n\
         power_w = [[0, 400]]\nbusy = [[0, 1]]\ncounter = {{ refresh_ms = 1 }}\n\
         [[gpu]]\nname = \"AMD Instinct MI250X\"\nuuid = \"a2\"\npci = \"0000:c6:00.0\"\nminor = 129\n\
         power_w = [[0, 0]]\nbusy = [[0, 0.5]]\n"
    );
    let library = mizar_gpu_trace::place(folder.path(), "libmizar_fake_rsmi.so", &script).unwrap();
    let keys = format!("sample_ms = 100\nflush_ms = 200\nrocm_smi_library = {library:?}\n");
    let node = Node {
        daemon: Daemon::start(&keys),
        folder,
    };
    node.register(
        &[&task],
        Some("GPU-00000000000000a1,GPU-00000000000000a2"),
        None,
    );
    until("it is read", || {
        (node.record()?.gpu_samples.len() > 20).then_some(())
    });
    let record = node.finish();
    assert_eq!(
        (record.gpus.len(), record.gpus[0].vendor.as_str()),
        (2, "amd")
    );
    assert_eq!(record.gpus[0].reports_for, [1]);
    assert!(record.gpus.iter().all(|gpu| gpu.replayed));
    let (even, odd) = (of(&record, 0), of(&record, 1));
    assert!(
        odd.iter()
            .all(|row| row.power_watts.is_nan() && row.energy_uj == UNKNOWN && row.busy == 0.5)
    );
    let seconds = (even.last().unwrap().time_ns - even[0].time_ns) as f64 * 1e-9;
    let joules = (even.last().unwrap().energy_uj - even[0].energy_uj) as f64 * 1e-6;
    // Refreshed every millisecond, and read some milliseconds before its stamp on a busy machine.
    assert!(
        (joules - 400.0 * seconds).abs() < 400.0 * 0.05,
        "{joules} J in {seconds} s"
    );
}

/// What sampling costs; the figures printed are of this build, over doubles and not hardware.
#[test]
fn sampling_costs_little_of_a_cpu() {
    for (sample_ms, task_count, gpus, most) in [
        (100, 50, "0-7", 0.10),
        (100, 50, "", 0.10),
        (10, 8, "0-7", 0.60),
    ] {
        let tasks: Vec<Task> = (0..task_count).map(|_| Task::sleeping()).collect();
        let node = Node::start(
            &eight_gpus(now_s(), &[]),
            &format!("sample_ms = {sample_ms}\n"),
        );
        let all: Vec<&Task> = tasks.iter().collect();
        let visible = gpus.is_empty().then_some("NoDevFiles");
        node.register(&all, visible, Some(gpus).filter(|gpus| !gpus.is_empty()));
        until("it is sampled", || {
            (node.record()?.task_samples.len() > 2 * all.len()).then_some(())
        });
        let (begin, cpu_s) = (std::time::Instant::now(), node.daemon.cpu_seconds());
        std::thread::sleep(std::time::Duration::from_secs(5));
        let share = (node.daemon.cpu_seconds() - cpu_s) / begin.elapsed().as_secs_f64();
        let record = node.finish();
        let rows = record.node_samples.len();
        println!(
            "{} Hz, {task_count} tasks, GPUs [{gpus}]: {:.2} % of a CPU, {rows} samples, {} of GPUs",
            1000 / sample_ms,
            100.0 * share,
            record.gpu_samples.len()
        );
        assert!(share < most, "{share}");
        assert_eq!(record.gpu_samples.is_empty(), gpus.is_empty());
    }
}
