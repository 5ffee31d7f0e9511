//! Fixture trees of /proc and /sys: good, missing and malformed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use mizar_node::cgroup::{StepCgroup, StepUse};
use mizar_node::devices;
use mizar_node::energy::EnergyMeter;
use mizar_node::machine;
use mizar_node::process::{ProcessTable, TreeUse, parse_io, parse_stat};
use mizar_node::{Roots, UNKNOWN};
use proptest::prelude::*;

/// A pair of roots in a temporary folder.
struct Fixture {
    _folder: tempfile::TempDir,
    roots: Roots,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            proc: folder.path().join("proc"),
            sys: folder.path().join("sys"),
        };
        std::fs::create_dir(&roots.proc).unwrap();
        std::fs::create_dir(&roots.sys).unwrap();
        Self {
            _folder: folder,
            roots,
        }
    }

    fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn proc(&self, name: &str, text: &str) -> &Self {
        Self::put(&self.roots.proc, name, text);
        self
    }

    fn sys(&self, name: &str, text: &str) -> &Self {
        Self::put(&self.roots.sys, name, text);
        self
    }

    fn process(&self, pid: i32, parent: i32, ticks: u64, start: u64) -> &Self {
        let stat = format!(
            "{pid} (a) b (c) S {parent} 1 1 0 -1 4194304 9 9 0 0 {ticks} 1 2 3 20 0 4 0 {start} 1000 10 \
             18446744073709551615 1 1 0\n"
        );
        self.proc(&format!("{pid}/stat"), &stat).proc(
            &format!("{pid}/io"),
            "rchar: 100\nwchar: 50\nsyscr: 1\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 8192\n\
             cancelled_write_bytes: 0\n",
        )
    }

    fn gone(&self, pid: i32) {
        std::fs::remove_dir_all(self.roots.proc.join(pid.to_string())).unwrap();
    }
}

#[test]
fn a_task_is_its_process_and_all_descendants() {
    let fixture = Fixture::new();
    // 30 is a child of 20, whose number is higher than its parent's parent.
    fixture
        .process(10, 1, 100, 5)
        .process(20, 10, 200, 6)
        .process(30, 20, 300, 7);
    fixture
        .process(40, 1, 999, 8)
        .proc("self/stat", "x")
        .proc("uptime", "1 1");
    let mut table = ProcessTable::new(&fixture.roots);
    assert!(table.watch(10, Some(5)));
    assert!(
        !table.watch(40, Some(9)),
        "another process with the pid of an old one"
    );
    assert!(!table.watch(41, None), "no such process");
    table.pass().unwrap();
    let usage = table.read()[&10];
    // 6 = the other three fields of each; a tick is 10 ms.
    assert_eq!(usage.cpu_ns, (600 + 3 * 6) * 10_000_000);
    assert_eq!((usage.processes, usage.threads), (3, 12));
    assert_eq!((usage.rchar_bytes, usage.write_bytes), (300, 3 * 8192));
    assert!(usage.first_runs && usage.rss_bytes >= 3 * 10 * 4096);
}

#[test]
fn counters_never_run_backwards_and_orphans_stay_with_their_task() {
    let fixture = Fixture::new();
    fixture
        .process(10, 1, 100, 5)
        .process(20, 10, 200, 6)
        .process(30, 20, 300, 7);
    let mut table = ProcessTable::new(&fixture.roots);
    assert!(table.watch(10, None));
    table.pass().unwrap();
    let before = table.read()[&10];
    // 20 dies and nobody of the tree waits for it; its child now is init's.
    fixture.gone(20);
    fixture.process(30, 1, 350, 7);
    table.pass().unwrap();
    let after = table.read()[&10];
    assert_eq!(after.processes, 2);
    assert!(
        after.cpu_ns >= before.cpu_ns,
        "{} < {}",
        after.cpu_ns,
        before.cpu_ns
    );
    assert!(after.rchar_bytes >= before.rchar_bytes);
    // The first process ends: what is left of the task is still the task's.
    fixture.gone(10);
    table.pass().unwrap();
    let last = table.read()[&10];
    assert!(!last.first_runs);
    assert_eq!(last.processes, 1);
    assert!(last.cpu_ns >= after.cpu_ns);
    fixture.gone(30);
    table.pass().unwrap();
    assert_eq!(table.read()[&10].processes, 0);
    table.unwatch(10);
    assert_eq!(table.watched(), 0);
    assert!(table.read().is_empty());
}

#[test]
fn children_forked_before_their_task_was_known_are_found() {
    let fixture = Fixture::new();
    fixture.process(10, 1, 1, 5).process(20, 10, 1, 6);
    let mut table = ProcessTable::new(&fixture.roots);
    table.pass().unwrap();
    assert!(table.watch(10, None));
    table.pass().unwrap();
    assert_eq!(table.read()[&10].processes, 2);
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_zero() {
    let fixture = Fixture::new();
    fixture.process(10, 1, 100, 5);
    std::fs::remove_file(fixture.roots.proc.join("10/io")).unwrap();
    let mut table = ProcessTable::new(&fixture.roots);
    assert!(table.watch(10, None));
    table.pass().unwrap();
    let TreeUse {
        cpu_ns,
        read_bytes,
        wchar_bytes,
        ..
    } = table.read()[&10];
    assert!(cpu_ns > 0);
    assert_eq!((read_bytes, wchar_bytes), (UNKNOWN, UNKNOWN));
    let node = machine::read(&fixture.roots, &mut Vec::new());
    assert_eq!(
        [node.cpu_busy_ns, node.memory_used_bytes, node.net_rx_bytes],
        [UNKNOWN; 3]
    );
}

#[test]
fn malformed_files_of_the_node_are_unknown() {
    for garbage in [
        "",
        "cpu",
        "cpu  x y z",
        "\u{fffd}\u{fffd}",
        "cpu  -1 2 3 4 5 6 7 8",
    ] {
        let fixture = Fixture::new();
        fixture
            .proc("stat", garbage)
            .proc("meminfo", garbage)
            .proc("net/dev", garbage);
        let node = machine::read(&fixture.roots, &mut Vec::new());
        assert_eq!(
            [node.cpu_busy_ns, node.memory_used_bytes],
            [UNKNOWN; 2],
            "{garbage:?}"
        );
    }
}

#[test]
fn the_node_is_read_from_good_files() {
    let fixture = Fixture::new();
    fixture
        .proc("stat", "cpu  100 10 50 800 40 1 2 3 7 7\ncpu0 1 1 1\n")
        .proc("meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")
        .proc(
            "net/dev",
            "Inter-| Receive\n face |bytes\n    lo: 7 0 0 0 0 0 0 0 7 0\n  eth0:100 1 0 0 0 0 0 0 200 1\n   \
             ib0: 5 1 0 0 0 0 0 0 6 1\n",
        );
    let mut buffer = Vec::new();
    let node = machine::read(&fixture.roots, &mut buffer);
    assert_eq!(node.cpu_total_ns, 1006 * 10_000_000);
    assert_eq!(node.cpu_busy_ns, 166 * 10_000_000);
    assert_eq!(
        (node.memory_used_bytes, node.memory_total_bytes),
        (600 << 10, 1000 << 10)
    );
    assert_eq!((node.net_rx_bytes, node.net_tx_bytes), (105, 206));
    // With InfiniBand ports, IP over them is not counted twice.
    fixture
        .sys("class/net/ib0/type", "32\n")
        .sys("class/infiniband/mlx5_0/ports/1/link_layer", "InfiniBand\n")
        .sys(
            "class/infiniband/mlx5_0/ports/1/counters/port_rcv_data",
            "1000\n",
        )
        .sys(
            "class/infiniband/mlx5_0/ports/1/counters/port_xmit_data",
            "2000\n",
        );
    let node = machine::read(&fixture.roots, &mut buffer);
    assert_eq!((node.net_rx_bytes, node.net_tx_bytes), (4100, 8200));
}

#[test]
fn a_step_cgroup_of_version_2_is_found_whatever_its_job_folder_is_called() {
    for path in [
        "/system.slice/slurmstepd.scope/job_7/step_0/user/task_1",
        "/system.slice/n1_slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_1",
    ] {
        let fixture = Fixture::new();
        let step = format!("fs/cgroup{}", path.trim_end_matches("/user/task_1"));
        fixture
            .proc("9/cgroup", &format!("0::{path}\n"))
            .sys(
                &format!("{step}/cpu.stat"),
                "usage_usec 1500\nuser_usec 1\n",
            )
            .sys(
                &format!("{step}/memory.stat"),
                "anon 10\nfile 99\nshmem 5\n",
            )
            .sys(&format!("{step}/memory.events"), "oom 1\noom_kill 2\n")
            .sys(
                &format!("{step}/io.stat"),
                "8:0 rbytes=1 wbytes=2 rios=3\n8:16 rbytes=10 wbytes=20\n",
            );
        let cgroup = StepCgroup::of_process(&fixture.roots, 9).unwrap();
        assert_eq!(cgroup.method(), "cgroup v2");
        let expected = StepUse {
            cpu_ns: 1_500_000,
            memory_bytes: 15,
            // RHEL 8 has no memory.peak.
            memory_peak_bytes: UNKNOWN,
            oom_kills: 2,
            read_bytes: 11,
            write_bytes: 22,
        };
        assert_eq!(cgroup.read(&mut Vec::new()), expected);
        fixture.sys(&format!("{step}/io.stat"), "8:0 rbytes=x\n");
        fixture.sys(&format!("{step}/memory.peak"), "77\n");
        let usage = cgroup.read(&mut Vec::new());
        assert_eq!((usage.read_bytes, usage.memory_peak_bytes), (UNKNOWN, 77));
    }
}

#[test]
fn a_step_cgroup_of_version_1_is_read_from_each_controller() {
    let fixture = Fixture::new();
    let step = "slurm/uid_1000/job_7/step_batch";
    fixture
        .proc(
            "9/cgroup",
            "5:blkio:/\n4:cpu,cpuacct:/slurm/uid_1000/job_7/step_batch/task_0\n\
             3:memory:/slurm/uid_1000/job_7/step_batch/task_0\n1:name=systemd:/x\n",
        )
        .sys(
            &format!("fs/cgroup/cpu,cpuacct/{step}/cpuacct.usage"),
            "123456\n",
        )
        .sys(
            &format!("fs/cgroup/memory/{step}/memory.stat"),
            "rss 1\ntotal_rss 40\ntotal_shmem 2\n",
        )
        .sys(
            &format!("fs/cgroup/memory/{step}/memory.max_usage_in_bytes"),
            "99\n",
        )
        .sys(
            &format!("fs/cgroup/memory/{step}/memory.oom_control"),
            "under_oom 0\noom_kill 1\n",
        );
    let cgroup = StepCgroup::of_process(&fixture.roots, 9).unwrap();
    assert_eq!(cgroup.method(), "cgroup v1");
    let expected = StepUse {
        cpu_ns: 123_456,
        memory_bytes: 42,
        memory_peak_bytes: 99,
        oom_kills: 1,
        read_bytes: UNKNOWN,
        write_bytes: UNKNOWN,
    };
    assert_eq!(cgroup.read(&mut Vec::new()), expected);
}

#[test]
fn no_cgroup_of_slurm_is_none() {
    for text in [
        "",
        "0::/\n",
        "0::/user.slice/x\n",
        "garbage",
        "0::/../../step_0\n",
        "::::\n",
    ] {
        let fixture = Fixture::new();
        fixture.proc("9/cgroup", text);
        assert_eq!(StepCgroup::of_process(&fixture.roots, 9), None, "{text:?}");
    }
    assert_eq!(StepCgroup::of_process(&Fixture::new().roots, 9), None);
}

#[test]
fn a_process_that_may_open_few_files_still_reads_all() {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, 40, 40).unwrap();
    let fixture = Fixture::new();
    for index in 0..100 {
        fixture.process(100 + index, if index == 0 { 1 } else { 100 }, 10, 5);
    }
    let mut table = ProcessTable::new(&fixture.roots);
    assert!(table.watch(100, None));
    for _ in 0..3 {
        table.pass().unwrap();
        let usage = table.read()[&100];
        assert_eq!((usage.processes, usage.rchar_bytes), (100, 100 * 100));
    }
}

const SECOND_NS: i64 = 1_000_000_000;

#[test]
fn rapl_counts_packages_and_memory_and_wraps() {
    let fixture = Fixture::new();
    let domain = |folder: &str, name: &str, energy: &str| {
        fixture
            .sys(&format!("class/powercap/{folder}/name"), name)
            .sys(
                &format!("class/powercap/{folder}/max_energy_range_uj"),
                "999999\n",
            )
            .sys(&format!("class/powercap/{folder}/energy_uj"), energy);
    };
    domain("intel-rapl:0", "package-0\n", "900000\n");
    domain("intel-rapl:0:0", "core\n", "1\n");
    domain("intel-rapl:0:1", "dram\n", "100\n");
    domain("intel-rapl:1", "psys\n", "5\n");
    domain("intel-rapl-mmio:0", "package-0\n", "900000\n");
    let mut meter = EnergyMeter::discover(&fixture.roots);
    assert_eq!(
        meter.method(),
        "RAPL counters (package-0, dram), CPUs and memory only"
    );
    let first = meter.read(0);
    assert!(first.joules == 0.0 && first.watts.is_nan());
    // 100,000 to the wrap and 300,000 after it, and 100,000 of memory: half a joule in 2 s.
    domain("intel-rapl:0", "package-0\n", "300000\n");
    domain("intel-rapl:0:1", "dram\n", "100100\n");
    let second = meter.read(2 * SECOND_NS);
    assert!(
        (second.joules - 0.5).abs() < 1e-9 && (second.watts - 0.25).abs() < 1e-9,
        "{second:?}"
    );
    std::fs::remove_file(
        fixture
            .roots
            .sys
            .join("class/powercap/intel-rapl:0/energy_uj"),
    )
    .unwrap();
    assert!(meter.read(3 * SECOND_NS).joules.is_nan());
}

#[test]
fn cray_counters_are_taken_only_when_fresh() {
    let fixture = Fixture::new();
    let put = |name: &str, text: &str| {
        fixture.sys(&format!("cray/pm_counters/{name}"), text);
    };
    put("freshness", "17\n");
    put("energy", "1000 J 1700000000000000 us\n");
    put("power", "400 W 1700000000000000 us\n");
    let mut meter = EnergyMeter::discover(&fixture.roots);
    assert!(meter.method().starts_with("Cray"));
    assert_eq!(meter.read(0).joules, 0.0);
    put("energy", "1800 J 1700000002000000 us\n");
    let second = meter.read(2 * SECOND_NS);
    assert_eq!((second.joules, second.watts), (800.0, 400.0));
    put("energy", "nonsense\n");
    assert!(meter.read(3 * SECOND_NS).joules.is_nan());
}

#[test]
fn grace_hopper_modules_are_integrated_over_true_intervals_and_zeros_are_not_believed() {
    let fixture = Fixture::new();
    fixture
        .sys(
            "class/hwmon/hwmon0/device/power1_oem_info",
            "Module Power Socket 0\n",
        )
        .sys("class/hwmon/hwmon0/device/power1_average", "300000000\n")
        .sys(
            "class/hwmon/hwmon1/device/power1_oem_info",
            "CPU Power Socket 0\n",
        )
        .sys("class/hwmon/hwmon1/device/power1_average", "100000000\n");
    let mut meter = EnergyMeter::discover(&fixture.roots);
    assert!(
        meter
            .method()
            .starts_with("module power sensors of 1 sockets"),
        "{}",
        meter.method()
    );
    assert_eq!(meter.read(0).watts, 300.0);
    fixture.sys("class/hwmon/hwmon0/device/power1_average", "500000000\n");
    let second = meter.read(3 * SECOND_NS);
    assert_eq!(second.joules, 1200.0);
    fixture.sys("class/hwmon/hwmon0/device/power1_average", "0\n");
    assert_eq!(meter.read(4 * SECOND_NS).joules, 1700.0);
    // A gap is unobserved, not interpolated.
    assert_eq!(meter.read(4000 * SECOND_NS).joules, 1700.0);
}

#[test]
fn nothing_that_measures_is_said_and_is_not_a_number() {
    let fixture = Fixture::new();
    let mut meter = EnergyMeter::discover(&fixture.roots);
    assert_eq!(meter.method(), "none");
    let energy = meter.read(0);
    assert!(energy.joules.is_nan() && energy.watts.is_nan());
    fixture.sys("class/powercap/intel-rapl:0/name", "package-0\n");
    assert!(
        EnergyMeter::discover(&fixture.roots)
            .method()
            .starts_with("none: RAPL")
    );
}

#[test]
fn this_process_is_read_from_the_real_proc() {
    let own = i32::try_from(std::process::id()).unwrap();
    let mut table = ProcessTable::new(&Roots::default());
    assert!(table.watch(own, None));
    table.pass().unwrap();
    let usage = table.read()[&own];
    assert!(
        usage.first_runs && usage.rss_bytes > 100_000 && usage.threads >= 1,
        "{usage:?}"
    );
}

proptest! {
    #[test]
    fn stat_survives_any_name(name in "[ ()a-z\\\\]{0,20}", ticks in 0_u64..1 << 40, start: u64) {
        let line = format!(
            "42 ({name}) R 7 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 3 0 {start} 0 12 1"
        );
        let stat = parse_stat(line.as_bytes()).unwrap();
        prop_assert_eq!((stat.parent, stat.cpu_ticks, stat.threads), (7, ticks, 3));
        prop_assert_eq!((stat.start_ticks, stat.resident_pages), (start, 12));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>) {
        let _ = (parse_stat(&bytes), parse_io(&bytes));
    }
}

#[test]
fn devices_and_file_systems_are_counted_by_name() {
    let fixture = Fixture::new();
    fixture
        .proc(
            "net/dev",
            "Inter-|   Receive\n face |bytes\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0: 100 1 0 0 0 0 0 0 \
             200 2 0\n  br0: 7 0 0 0 0 0 0 0 8 0\n   ib0: 5 0 0 0 0 0 0 0 6 0\n",
        )
        .sys("class/net/eth0/type", "1\n")
        .sys("class/net/eth0/device/vendor", "0x15b3\n")
        .sys("class/net/br0/type", "1\n")
        .sys("class/net/ib0/type", "32\n")
        .sys("class/net/ib0/device/vendor", "0x15b3\n");
    let port = "class/infiniband/mlx5_0/ports/1";
    fixture
        .sys(&format!("{port}/link_layer"), "InfiniBand\n")
        .sys(&format!("{port}/counters/port_rcv_data"), "1000\n")
        .sys(
            &format!("{port}/counters/port_xmit_data"),
            "18446744073709551615\n",
        )
        .sys(&format!("{port}/counters/port_xmit_wait"), "77\n");
    let roce = "class/infiniband/bnxt_re0/ports/1";
    fixture
        .sys(&format!("{roce}/link_layer"), "Ethernet\n")
        .sys(&format!("{roce}/counters/port_rcv_data"), "1000\n")
        .sys(&format!("{roce}/hw_counters/rp_cnp_handled"), "3\n");
    let telemetry = "class/cxi/cxi0/device/telemetry";
    fixture
        .sys(&format!("{telemetry}/hni_rx_ok_27"), "2@1700000000.5\n")
        .sys(
            &format!("{telemetry}/hni_rx_ok_128_to_255"),
            "10@1700000000.5\n",
        )
        .sys(
            &format!("{telemetry}/hni_tx_ok_8192_to_max"),
            "1@1700000000.5\n",
        )
        .sys(&format!("{telemetry}/hni_tx_paused_0"), "5@1700000000.5\n");
    let llite = "fs/lustre/llite/scratch-ffff8881";
    fixture.proc(
        &format!("{llite}/stats"),
        "snapshot_time 1.2 secs.nsecs\nread_bytes 35 samples [bytes] 4096 1048576 123456 9\n\
         write_bytes 2 samples [bytes] 1 2 3\nopen 4 samples [regs]\n",
    );
    fixture.proc(
        "self/mountstats",
        "device proc mounted on /proc with fstype proc\n\
         device nas:/home mounted on /home with fstype nfs4 statvers=1.1\n\
         \topts:\trw\n\tbytes:\t11 12 13 14 15 16 17 18\n\
         device tmpfs mounted on /tmp with fstype tmpfs\n\tbytes:\t1 2 3 4 5 6 7 8\n",
    );
    let found = devices::read(&fixture.roots, &mut Vec::new());
    let told: Vec<_> = found
        .iter()
        .map(|c| (c.class, c.device.as_str(), c.quantity, c.value))
        .collect();
    let expected = [
        ("ethernet", "eth0", "received", 100),
        ("ethernet", "eth0", "sent", 200),
        ("roce", "bnxt_re0:1", "slowed down by congestion", 3),
        ("infiniband", "mlx5_0:1", "received", 4000),
        ("infiniband", "mlx5_0:1", "sent", u64::MAX),
        ("infiniband", "mlx5_0:1", "waited to send", 77),
        ("slingshot", "cxi0", "received, at least", 2 * 27 + 10 * 128),
        ("slingshot", "cxi0", "sent, at least", 8192),
        ("lustre", "scratch", "read", 123_456),
        ("lustre", "scratch", "written", 3),
        ("nfs", "nas:/home", "read", 15),
        ("nfs", "nas:/home", "written", 16),
    ];
    assert_eq!(told, expected);
    let empty = Fixture::new();
    assert!(devices::read(&empty.roots, &mut Vec::new()).is_empty());
}
