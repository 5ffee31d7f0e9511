//! AMD's back ends over the double of ROCm SMI and over fixture trees of sysfs: replayed or
//! made up, not hardware.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use mizar_gpu::amd_smi::AmdSmi;
use mizar_gpu::amdgpu::Amdgpu;
use mizar_gpu::backend::{Backend, OpenError, ReadError};
use mizar_gpu::rocm_smi::RocmSmi;
use support::Double;

const RSMI: &str = "libmizar_fake_rsmi.so";
const MIB: u64 = 1 << 20;

fn write(root: &Path, file: &str, content: impl AsRef<[u8]>) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A card as the kernel shows it, and its list of processes.
fn card(sys: &Path, number: u32, pci: &str, render: u32, gpu_id: u64) {
    let device = format!("class/drm/card{number}/device");
    let uevent = format!("DRIVER=amdgpu\nPCI_SLOT_NAME={pci}\n");
    for (file, content) in [
        ("vendor", "0x1002\n"),
        ("uevent", &uevent),
        ("product_name", "AMD Instinct MI210\n"),
        ("unique_id", "abc123\n"),
        ("gpu_busy_percent", "42\n"),
        ("mem_busy_percent", "7\n"),
        ("mem_info_vram_used", "1048576\n"),
        ("mem_info_vram_total", "68702699520\n"),
        ("hwmon/hwmon5/power1_average", "123000000\n"),
        ("hwmon/hwmon5/power1_cap", "300000000\n"),
        ("hwmon/hwmon5/temp1_label", "edge\n"),
        ("hwmon/hwmon5/temp1_input", "51000\n"),
        ("hwmon/hwmon5/temp3_label", "mem\n"),
        ("hwmon/hwmon5/temp3_input", "63000\n"),
        ("hwmon/hwmon5/freq1_input", "1700000000\n"),
        ("ras/umc_err_count", "ue: 1\nce: 20\n"),
        ("ras/gfx_err_count", "ue: 0\nce: 3\n"),
        (&format!("drm/renderD{render}/dev"), "226:128\n"),
    ] {
        write(sys, &format!("{device}/{file}"), content);
    }
    let mut metrics = vec![0xff_u8; 120];
    metrics[..4].copy_from_slice(&[120, 0, 1, 3]);
    metrics[24..32].copy_from_slice(&(65_536_u64 * 250).to_le_bytes());
    metrics[112..120].copy_from_slice(&1_u64.to_le_bytes());
    write(sys, &format!("{device}/gpu_metrics"), &metrics);
    let node = format!("class/kfd/kfd/topology/nodes/{number}");
    write(sys, &format!("{node}/gpu_id"), gpu_id.to_string());
    let properties = format!("cpu_cores_count 0\ndrm_render_minor {render}\n");
    write(sys, &format!("{node}/properties"), properties);
    write(
        sys,
        &format!("class/kfd/kfd/proc/4711/vram_{gpu_id}"),
        "2097152\n",
    );
    write(
        sys,
        &format!("class/kfd/kfd/proc/4712/vram_{gpu_id}"),
        "0\n",
    );
}

#[test]
fn the_kernels_files_tell_what_they_can() {
    let root = tempfile::tempdir().unwrap();
    let sys = root.path();
    card(sys, 1, "0000:c1:00.0", 128, 777);
    // A CPU's node, a connector and a card of another vendor.
    write(sys, "class/kfd/kfd/topology/nodes/0/gpu_id", "0");
    write(sys, "class/drm/card1-DP-1/status", "connected");
    write(sys, "class/drm/card0/device/vendor", "0x10de");
    let amdgpu = Amdgpu::open(sys).unwrap();
    let [device] = amdgpu.devices() else {
        panic!("{:?}", amdgpu.devices())
    };
    assert_eq!(
        (device.uuid.as_str(), device.pci.as_deref()),
        ("GPU-abc123", Some("0000:c1:00.0"))
    );
    assert_eq!(
        (device.minor, device.power_limit_watts),
        (Some(128), Some(300.0))
    );
    let read = amdgpu.read(0).unwrap();
    let reading = read.reading;
    // 250 J in units of 2^-16 J.
    assert_eq!(reading.energy_uj, Some(250_000_000));
    assert_eq!(
        (reading.power_watts, reading.busy),
        (Some(123.0), Some(0.42))
    );
    assert_eq!(
        (reading.temperature_c, reading.memory_temperature_c),
        (Some(51.0), Some(63.0))
    );
    assert_eq!(
        (reading.sm_clock_mhz, reading.memory_clock_mhz),
        (Some(1700.0), None)
    );
    assert_eq!(
        (reading.ecc_corrected, reading.ecc_uncorrected),
        (Some(23), Some(1))
    );
    assert!(reading.clock_limits.unwrap().power_cap);
    assert_eq!((reading.link_rx_bytes, reading.pcie_rx_bytes), (None, None));
    let processes = read.processes.unwrap();
    assert_eq!((processes.len(), processes[0].pid), (1, 4711));
    assert_eq!(processes[0].memory_bytes, Some(2 * MIB));
    // Damaged files are unknown; a card that is gone is lost.
    write(sys, "class/drm/card1/device/gpu_busy_percent", "many");
    write(sys, "class/drm/card1/device/gpu_metrics", [9, 0, 3, 9]);
    let damaged = amdgpu.read(0).unwrap().reading;
    assert_eq!(
        (damaged.busy, damaged.energy_uj, damaged.clock_limits),
        (None, None, None)
    );
    std::fs::remove_dir_all(sys.join("class/drm/card1")).unwrap();
    assert!(matches!(amdgpu.read(0), Err(ReadError::Vanished(_))));
    assert!(matches!(
        Amdgpu::open(&sys.join("nowhere")),
        Err(OpenError::Absent(_))
    ));
}

#[test]
fn rocm_smi_comes_first_and_the_kernel_fills_in() {
    let root = tempfile::tempdir().unwrap();
    card(root.path(), 3, "0000:c1:00.0", 129, 888);
    let double = Double::new(
        RSMI,
        r#"
        label = "one MI210"
        library = "7.3.0"
        start_unix_s = 1000.0
        [[gpu]]
        name = "AMD Instinct MI210"
        uuid = "a1b2"
        pci = "0000:c1:00.0"
        minor = 129
        power_w = [[0, 250]]
        busy = [[0, 0.5]]
        memory_used_mib = [[0, 300]]
        temperature_c = [[0, 70]]
        ecc_corrected = [[0, 4]]
        counter = { start_uj = 0, refresh_ms = 0 }
        "#,
    );
    let amd = RocmSmi::open(double.library(), root.path()).unwrap();
    let device = &amd.devices()[0];
    assert_eq!(
        (device.uuid.as_str(), device.minor),
        ("GPU-000000000000a1b2", Some(129))
    );
    assert_eq!(device.source, "ROCm SMI 7.3.0");
    assert_eq!(device.replayed.as_deref(), Some("one MI210"));
    let read = amd.read(0).unwrap();
    let reading = read.reading;
    assert_eq!(
        (reading.power_watts, reading.busy),
        (Some(250.0), Some(0.5))
    );
    assert_eq!(
        (reading.memory_used_bytes, reading.temperature_c),
        (Some(300 * MIB), Some(70.0))
    );
    assert_eq!(
        (reading.ecc_corrected, reading.ecc_uncorrected),
        (Some(4), Some(0))
    );
    // From the kernel, for the library's structure has no stable layout.
    assert_eq!(reading.sm_clock_mhz, Some(1700.0));
    assert!(reading.clock_limits.unwrap().power_cap);
    assert_eq!(read.processes.unwrap()[0].pid, 4711);
    // 250 W since second 0: the resolution of 15.3 µJ is not cut to 15, which would lose 2 %.
    let seconds = reading.after.unix_ns as f64 * 1e-9 - 1000.0;
    let joules = reading.energy_uj.unwrap() as f64 * 1e-6;
    assert!(
        (joules / (250.0 * seconds) - 1.0).abs() < 1e-6,
        "{joules} J after {seconds} s"
    );
}

#[test]
fn a_version_that_is_not_known_is_refused() {
    let double = Double::new(RSMI, "library = \"9.0.0\"\n[[gpu]]\nuuid = \"1\"\n");
    let Err(error) = RocmSmi::open(double.library(), Path::new("/nonexistent")) else {
        panic!("opened")
    };
    assert!(
        error
            .to_string()
            .contains("version 9.0.0 is not known (known: 5 to 7)"),
        "{error}"
    );
}

#[test]
fn amd_smi_serves_where_rocm_smi_does_not() {
    let root = tempfile::tempdir().unwrap();
    card(root.path(), 3, "0000:c1:00.0", 129, 888);
    let double = Double::new(
        RSMI,
        r#"
        library = "26.0.1"
        start_unix_s = 1000.0
        [[gpu]]
        uuid = "aaff74a1-0000-1000-80a1-b2c3d4e5f607"
        pci = "0000:c1:00.0"
        busy = [[0, 0.5]]
        memory_used_mib = [[0, 300]]
        temperature_c = [[0, 70]]
        power_w = [[0, 250]]
        counter = { refresh_ms = 0 }
        "#,
    );
    let amd = AmdSmi::open(double.library(), root.path()).unwrap();
    let [device] = amd.devices() else {
        panic!("{:?}", amd.devices())
    };
    assert_eq!(
        (device.name.as_str(), device.minor),
        ("AMD Instinct MI210", Some(129))
    );
    assert_eq!(
        (device.source.as_str(), device.uuid.as_str()),
        ("AMD SMI 26.0.1", "GPU-abc123")
    );
    assert!(device.replayed.is_some());
    let read = amd.read(0).unwrap();
    let reading = read.reading;
    assert_eq!(
        (reading.busy, reading.temperature_c),
        (Some(0.5), Some(70.0))
    );
    assert_eq!(reading.memory_used_bytes, Some(300 * MIB));
    // From the kernel's files.
    assert_eq!(
        (reading.power_watts, reading.ecc_corrected),
        (Some(123.0), Some(23))
    );
    let seconds = reading.after.unix_ns as f64 * 1e-9 - 1000.0;
    let joules = reading.energy_uj.unwrap() as f64 * 1e-6;
    assert!((joules / (250.0 * seconds) - 1.0).abs() < 1e-6);
    assert_eq!(read.processes.unwrap()[0].pid, 4711);
    let newer = Double::new(RSMI, "library = \"31.0.0\"\n[[gpu]]\nuuid = \"1\"\n");
    assert!(matches!(
        AmdSmi::open(newer.library(), root.path()),
        Err(OpenError::Version { .. })
    ));
}

#[test]
fn one_die_of_a_package_speaks_for_both() {
    let double = Double::new(
        RSMI,
        "library = \"6.0.2\"\n\
         [[gpu]]\nname = \"AMD Instinct MI250X\"\nuuid = \"1\"\npower_w = [[0, 400]]\nbusy = [[0, 1]]\ncounter = {}\n\
         [[gpu]]\nname = \"AMD Instinct MI250X\"\nuuid = \"2\"\npower_w = [[0, 0]]\nbusy = [[0, 1]]\n",
    );
    let amd = RocmSmi::open(double.library(), Path::new("/nonexistent")).unwrap();
    let [even, odd] = amd.devices() else { panic!() };
    assert_eq!(even.reports_for, [1]);
    assert!(even.energy.method.contains("both dies") && odd.energy.method.contains("other die"));
    assert_eq!(amd.read(0).unwrap().reading.power_watts, Some(400.0));
    let odd = amd.read(1).unwrap().reading;
    assert_eq!(
        (odd.power_watts, odd.energy_uj, odd.busy),
        (None, None, Some(1.0))
    );
}

#[test]
fn failing_calls_cost_their_figure_and_a_lost_card_is_told() {
    const POWER: &str = "rsmi_dev_power_get";
    let double = Double::new(
        RSMI,
        &format!(
            "library = \"7.0.0\"\n[[fail]]\ncall = \"{POWER}\"\nnth = 3\ncode = 4\n\
             [[gpu]]\nuuid = \"1\"\npower_w = [[0, 90]]\nbusy = [[0, 1]]\nvanish = [[0.3, 99]]\n\
             unsupported = [\"rsmi_dev_power_ave_get\"]\n"
        ),
    );
    // The first two calls are the search's and the first reading's.
    let amd = RocmSmi::open(double.library(), Path::new("/nonexistent")).unwrap();
    let watts: Vec<Option<f64>> = (0..3)
        .map(|_| amd.read(0).unwrap().reading.power_watts)
        .collect();
    assert_eq!(watts, [Some(90.0), None, Some(90.0)]);
    std::thread::sleep(Duration::from_millis(350));
    assert!(matches!(amd.read(0), Err(ReadError::Vanished(_))));
}
