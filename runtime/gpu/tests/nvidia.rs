//! NVIDIA's back end and the reader over the double of NVML: replayed scripts, not hardware.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mizar_gpu::backend::{Backend, ReadError};
use mizar_gpu::model::{ClockLimits, OccurrenceKind, Snapshot};
use mizar_gpu::nvml::Nvidia;
use mizar_gpu::reader::{Outcome, Reader};
use support::{Double, until};

const NVML: &str = "libmizar_fake_nvml.so";
const MIB: u64 = 1 << 20;

fn open(script: &str) -> (Double, Nvidia) {
    let double = Double::new(NVML, script);
    let opened = Nvidia::open(double.library()).unwrap();
    (double, opened)
}

#[test]
fn every_figure_of_a_whole_gpu_arrives_in_its_unit() {
    let (_double, nvidia) = open(
        r#"
        label = "one of everything"
        library = "12.575.57"
        start_unix_s = 1000.0
        [[gpu]]
        name = "NVIDIA H100 80GB HBM3"
        uuid = "GPU-aa"
        pci = "00000000:65:00.0"
        minor = 3
        memory_total_mib = 81559
        memory_reserved_mib = 500
        memory_used_mib = [[0, 1024]]
        power_w = [[0, 350.5]]
        busy = [[0, 0.75]]
        memory_busy = [[0, 0.25]]
        temperature_c = [[0, 61]]
        memory_temperature_c = [[0, 70]]
        sm_clock_mhz = [[0, 1980]]
        memory_clock_mhz = [[0, 2619]]
        limits = [[0, 0x2c]]
        ecc_corrected = [[0, 5]]
        ecc_uncorrected = [[0, 0]]
        pcie_bytes_s = [[0, 1000]]
        link_bytes_s = [[0, 3000]]
        sm_active = [[0, 0.5]]
        tensor_active = [[0, 0.25]]
        dram_active = [[0, 0.125]]
        counter = { start_uj = 0 }
        process = [{ pid = 4242, memory_mib = 900, busy = 0.6 }]
        "#,
    );
    let device = &nvidia.devices()[0];
    assert_eq!(device.pci.as_deref(), Some("0000:65:00.0"));
    assert_eq!(
        (device.minor, device.index, device.parent),
        (Some(3), 0, None)
    );
    assert_eq!(device.memory_total_bytes, Some(81_559 * MIB));
    assert_eq!(device.power_limit_watts, Some(700.0));
    assert_eq!(device.source, "NVML 12.575.57");
    assert_eq!(device.replayed.as_deref(), Some("one of everything"));
    assert_eq!(device.energy.refresh_ms, Some(100));
    nvidia.read(0).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    let Snapshot { reading, processes } = nvidia.read(0).unwrap();
    assert_eq!(reading.power_watts, Some(350.5));
    assert_eq!(
        (reading.busy, reading.memory_busy),
        (Some(0.75), Some(0.25))
    );
    assert_eq!(reading.memory_used_bytes, Some(1024 * MIB));
    assert_eq!(reading.temperature_c, Some(61.0));
    assert_eq!(reading.memory_temperature_c, Some(70.0));
    assert_eq!(
        (reading.sm_clock_mhz, reading.memory_clock_mhz),
        (Some(1980.0), Some(2619.0))
    );
    let expected = ClockLimits {
        power_cap: true,
        thermal: true,
        hardware: true,
        ..ClockLimits::default()
    };
    assert_eq!(reading.clock_limits, Some(expected));
    assert_eq!(
        (reading.ecc_corrected, reading.ecc_uncorrected),
        (Some(5), Some(0))
    );
    let active = [
        reading.sm_active,
        reading.tensor_active,
        reading.dram_active,
    ];
    for (found, expected) in active.iter().zip([0.5, 0.25, 0.125]) {
        assert!((found.unwrap() - expected).abs() < 1e-6, "{active:?}");
    }
    // Counters at the script's second, which lies between the two clocks of the reading.
    let seconds = |unix_ns: i64| unix_ns as f64 * 1e-9 - 1000.0;
    let (from_s, to_s) = (
        seconds(reading.before.unix_ns),
        seconds(reading.after.unix_ns),
    );
    let joules = reading.energy_uj.unwrap() as f64 * 1e-6;
    assert!((350.5 * (from_s - 0.1) - 0.01..=350.5 * to_s + 0.01).contains(&joules));
    let received = reading.pcie_rx_bytes.unwrap() as f64;
    assert!((1000.0 * from_s - 1.0..=1000.0 * to_s + 1.0).contains(&received));
    assert!((reading.link_tx_bytes.unwrap() as f64 / received - 3.0).abs() < 1e-3);
    let processes = processes.unwrap();
    assert_eq!(
        (processes[0].pid, processes[0].memory_bytes),
        (4242, Some(900 * MIB))
    );
    assert_eq!(processes[0].busy, Some(0.6));
}

#[test]
fn what_is_not_supported_is_unknown_and_never_zero() {
    let (_double, nvidia) = open("[[gpu]]\nname = \"NVIDIA A100\"\nuuid = \"GPU-a\"\n");
    let Snapshot { reading, processes } = nvidia.read(0).unwrap();
    let mut expected = mizar_gpu::Reading::default();
    (expected.before, expected.after) = (reading.before, reading.after);
    assert_eq!(reading, expected);
    assert_eq!(processes, Some(Vec::new()));
    let method = &nvidia.devices()[0].energy.method;
    assert!(
        method.contains("integrated") && method.contains("a quarter of the time"),
        "{method}"
    );
}

#[test]
fn instances_have_their_own_memory_counters_and_processes() {
    let (_double, nvidia) = open(
        r#"
        [[gpu]]
        name = "NVIDIA H100 80GB HBM3"
        uuid = "GPU-w"
        power_w = [[0, 200]]
        busy = [[0, 0.9]]
        sm_active = [[0, 0.3]]
        memory_used_mib = [[0, 3000]]
        counter = {}
        process = [{ pid = 11, memory_mib = 700, instance = 9 }, { pid = 12, memory_mib = 70, instance = 5 }]
        mig = [
          { uuid = "MIG-1", instance = 9, slices = 2, memory_total_mib = 20096, memory_used_mib = [[0, 800]], sm_active = [[0, 0.8]] },
          { uuid = "MIG-2", instance = 5, slices = 1, memory_total_mib = 9984, memory_used_mib = [[0, 80]], sm_active = [[0, 0.1]] },
        ]
        "#,
    );
    let devices = nvidia.devices();
    assert_eq!(devices.len(), 3);
    assert_eq!(
        (devices[1].parent, devices[1].instance),
        (Some(0), Some((9, 0)))
    );
    assert_eq!(
        (devices[0].slices, devices[1].slices),
        (Some((7, 7)), Some((2, 7)))
    );
    assert_eq!(devices[1].name, "NVIDIA H100 80GB HBM3 MIG 2g.20gb");
    nvidia.read(1).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let Snapshot { reading, processes } = nvidia.read(1).unwrap();
    assert_eq!(reading.memory_used_bytes, Some(800 * MIB));
    assert!((reading.sm_active.unwrap() - 0.8).abs() < 1e-6);
    // The GPU's, not the instance's.
    assert_eq!(
        (reading.energy_uj, reading.power_watts, reading.busy),
        (None, None, None)
    );
    let pids: Vec<i32> = processes
        .unwrap()
        .iter()
        .map(|process| process.pid)
        .collect();
    assert_eq!(pids, [11]);
    let whole = nvidia.read(0).unwrap();
    assert!(whole.reading.energy_uj.is_some() && whole.reading.busy.is_none());
}

/// Fails the n-th call of each kind, for every n that three readings make.
#[test]
fn one_call_that_fails_costs_one_figure_and_nothing_else() {
    const GPU: &str = "[[gpu]]\nname = \"G\"\nuuid = \"GPU-f\"\npower_w = [[0, 100]]\n\
        busy = [[0, 1.0]]\nmemory_used_mib = [[0, 5]]\ncounter = {}\n";
    const CODE_UNKNOWN: u32 = 999;
    for call in [
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetComputeRunningProcesses_v3",
    ] {
        for nth in 1..=4 {
            let fault =
                format!("[[fail]]\ncall = \"{call}\"\nnth = {nth}\ncode = {CODE_UNKNOWN}\n");
            let (_double, nvidia) = open(&format!("{GPU}{fault}"));
            let reads: Vec<Snapshot> = (0..4).map(|_| nvidia.read(0).unwrap()).collect();
            let missing = reads.iter().filter(|read| {
                let reading = read.reading;
                reading.power_watts.is_none()
                    || reading.energy_uj.is_none()
                    || reading.busy.is_none()
                    || read.processes.is_none()
            });
            assert!(missing.count() <= 1, "{call} {nth}");
            assert!(
                reads
                    .iter()
                    .all(|read| read.reading.memory_used_bytes == Some(5 * MIB))
            );
        }
    }
}

#[test]
fn a_lost_gpu_is_told_as_lost() {
    let (_double, nvidia) =
        open("[[gpu]]\nuuid = \"GPU-l\"\nbusy = [[0, 1]]\nvanish = [[0.2, 99]]\n");
    nvidia.read(0).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    assert!(matches!(nvidia.read(0), Err(ReadError::Vanished(_))));
}

#[test]
fn xid_errors_are_told_once_each_with_their_gpu() {
    let (_double, nvidia) =
        open("[[gpu]]\nuuid = \"GPU-0\"\n[[gpu]]\nuuid = \"GPU-1\"\nxid = [[0, 63], [0.05, 79]]\n");
    std::thread::sleep(Duration::from_millis(80));
    let found = nvidia.occurrences();
    let told: Vec<_> = found
        .iter()
        .map(|(place, event)| (*place, event.kind, event.code))
        .collect();
    let xid = OccurrenceKind::Xid;
    assert_eq!(told, [(1, xid, Some(63)), (1, xid, Some(79))]);
    assert!(found[1].1.text.contains("fallen off the bus"));
    assert!(nvidia.occurrences().is_empty());
}

#[test]
fn a_hung_gpu_is_left_alone_and_the_others_are_read_on() {
    let (_double, nvidia) = open(
        "[[gpu]]\nuuid = \"GPU-0\"\nbusy = [[0, 1]]\n[[gpu]]\nuuid = \"GPU-1\"\nbusy = [[0, 1]]\n\
         hang = [[0.3, 2.0]]\n[[gpu]]\nuuid = \"GPU-2\"\nbusy = [[0, 1]]\n",
    );
    let reader = Reader::new(vec![Arc::new(nvidia)], Duration::from_millis(200));
    let mut outcomes = Vec::new();
    let mut slowest = Duration::ZERO;
    until("it hangs and comes back", || {
        let asked = Instant::now();
        reader.request(&[0, 1, 2]);
        outcomes.extend(reader.collect());
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
        let back = |outcome: &Outcome| matches!(outcome, Outcome::Befell(1, event) if event.kind == OccurrenceKind::Back);
        outcomes.iter().any(back).then_some(())
    });
    // Whoever asks does not wait.
    assert!(slowest < Duration::from_millis(150), "{slowest:?}");
    let hung = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Befell(1, event) if event.kind == OccurrenceKind::Hung));
    assert_eq!(hung.count(), 1);
    let reads = |device: usize| {
        let times = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Read(read, snapshot) if *read == device => {
                Some(snapshot.reading.after.monotonic_ns)
            }
            _ => None,
        });
        times.collect::<Vec<i64>>()
    };
    let longest_ms = |device: usize| {
        let times = reads(device);
        times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) / 1_000_000)
            .max()
            .unwrap()
    };
    for device in [0, 2] {
        assert!(reads(device).len() > 30, "{}", reads(device).len());
        assert!(longest_ms(device) < 600, "{} ms", longest_ms(device));
    }
    // Its gap is visible.
    assert!(reads(1).last().is_some());
    until("it is read again", || {
        reader.request(&[1]);
        reader
            .collect()
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Read(1, _)))
            .then_some(())
    });
}

#[test]
fn a_gpu_that_vanishes_and_returns_is_told_once_each_way() {
    let (_double, nvidia) =
        open("[[gpu]]\nuuid = \"GPU-0\"\nbusy = [[0, 1]]\nvanish = [[0.1, 1.0]]\n");
    let reader = Reader::new(vec![Arc::new(nvidia)], Duration::from_secs(2));
    let mut kinds = Vec::new();
    until("it is back", || {
        reader.request(&[0]);
        std::thread::sleep(Duration::from_millis(20));
        kinds.extend(
            reader
                .collect()
                .into_iter()
                .filter_map(|outcome| match outcome {
                    Outcome::Befell(_, event) => Some(event.kind),
                    Outcome::Read(..) => None,
                }),
        );
        kinds.contains(&OccurrenceKind::Back).then_some(())
    });
    assert_eq!(kinds, [OccurrenceKind::Vanished, OccurrenceKind::Back]);
}
