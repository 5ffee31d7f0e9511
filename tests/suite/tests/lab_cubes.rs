//! The examples that compute, learn and forecast, run as a user submits them: on a real Slurm of
//! two nodes, on CMIP6 files, with every result looked at.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mizar_lab::{Lab, MizarOptions, binary, venv};
use mizar_suite::repository;

/// A few MPI steps on two loaded cores.
const JOB: Duration = Duration::from_secs(180);

/// Submits an example and waits for its end. Open MPI 4.1 under PMIx crashes while starting now
/// and then: a job that fails is submitted once more.
fn run(lab: &Lab, example: &str, arguments: &[String]) {
    let script = std::fs::read_to_string(repository().join("examples").join(example)).unwrap();
    let bin = binary("mizar").parent().unwrap().display().to_string();
    // The words after the script's name cannot be given with a script on standard input.
    let words: Vec<String> = arguments.iter().map(|a| format!("'{a}'")).collect();
    let setup = format!(
        "export PATH='{bin}':$PATH SLURM_MPI_TYPE=pmix\nset -- {}\n",
        words.join(" ")
    );
    let body = script.find("\nset -euo pipefail").unwrap() + 1;
    let script = format!("{}{setup}{}", &script[..body], &script[body..]);
    for attempt in [1, 2] {
        let job = lab
            .sbatch(&script, &[])
            .unwrap_or_else(|error| panic!("{error}"));
        let state = lab
            .wait_job(job, JOB)
            .unwrap_or_else(|error| panic!("{error}"));
        if state == "COMPLETED" {
            return;
        }
        let output = lab.job_output(job).unwrap_or_default();
        assert!(attempt == 1, "{example}: {state}\n{output}");
        println!("{example}: {state}, once more\n{output}");
    }
}

/// How many values of a variable are valid, as netCDF4 reads it.
fn valid_values(path: &Path, variable: &str) -> usize {
    let script = "import netCDF4, numpy, sys\n\
                  data = netCDF4.Dataset(sys.argv[1])[sys.argv[2]][:]\n\
                  print(int(numpy.ma.count(data)))";
    let mut command = Command::new(venv::python().unwrap());
    command.args(["-c", script]).arg(path).arg(variable);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    text.parse()
        .unwrap_or_else(|_| panic!("{}: {problem}", path.display()))
}

#[test]
fn examples_compute_on_a_real_slurm() {
    let options = MizarOptions::default();
    let Some(first) = venv::cmip6("ta_day_TaiESM1_") else {
        println!("SKIP: the Python readers and the CMIP6 samples (tests/tools/venv.sh)");
        return;
    };
    let Some(lab) = Lab::builder().nodes(2).mizar_with(options).start_or_skip() else {
        return;
    };
    let folder = lab.dir().join("out");
    let text = |path: &Path| path.display().to_string();
    let made = |name: &str| text(&folder.join(name));

    let climatology = folder.join("climatology.nc");
    run(
        &lab,
        "climatology.sbatch",
        &[text(&first), text(&climatology)],
    );
    assert!(valid_values(&climatology, "ta") > 0);

    run(&lab, "anomaly.sbatch", &[text(&first), made("anomaly")]);
    assert!(valid_values(&folder.join("anomaly/variability.nc"), "ta") > 0);

    let region = [text(&first), made("region"), "-180,180,60,90".to_owned()];
    run(&lab, "region.sbatch", &region);
    assert!(valid_values(&folder.join("region/region.nc"), "ta_yearstd") > 0);
    let picture = std::fs::read(folder.join("region/region.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));

    run(&lab, "indices.sbatch", &[text(&first), made("indices")]);
    for name in ["frost_days", "summer_days", "cold", "warm"] {
        assert!(folder.join(format!("indices/{name}.nc")).exists(), "{name}");
    }

    // A second member with the same levels: other models of the samples have others.
    let second = folder.join("second.nc");
    std::fs::copy(&first, &second).unwrap();
    let models = [made("regrid"), text(&first), text(&second)];
    run(&lab, "regrid.sbatch", &models);
    assert!(valid_values(&folder.join("regrid/spread.nc"), "ta") > 0);
    lab.stop();
}

/// A configuration of the examples with fewer epochs.
fn shortened(name: &str, epochs: (&str, &str), folder: &Path) -> String {
    let text = std::fs::read_to_string(repository().join("examples").join(name)).unwrap();
    assert!(text.contains(epochs.0), "{name}");
    let path = folder.join(name);
    std::fs::write(&path, text.replace(epochs.0, epochs.1)).unwrap();
    path.display().to_string()
}

#[test]
fn examples_learn_and_forecast_on_a_real_slurm() {
    let samples = venv::cmip6("ta_day_TaiESM1_").zip(venv::cmip6("ta_Amon_TaiESM1_"));
    let Some((days, months)) = samples else {
        println!("SKIP: the Python readers and the CMIP6 samples (tests/tools/venv.sh)");
        return;
    };
    let options = MizarOptions::default();
    let Some(lab) = Lab::builder().nodes(2).mizar_with(options).start_or_skip() else {
        return;
    };
    let folder = lab.dir().join("learnt");
    std::fs::create_dir(&folder).unwrap();
    let made = |name: &str| folder.join(name).display().to_string();
    for (name, input, epochs) in [
        ("train_unet", &days, ("epochs: 10", "epochs: 1")),
        ("train_lstm", &months, ("epochs: 8", "epochs: 1")),
    ] {
        let config = shortened(&format!("{name}.yaml"), epochs, &folder);
        let model = made(&format!("{name}.safetensors"));
        let arguments = [input.display().to_string(), model, config];
        run(&lab, &format!("{name}.sbatch"), &arguments);
        assert!(valid_values(&folder.join(format!("{name}.nc")), "ta") > 0);
        let picture = std::fs::read(folder.join(format!("{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
    }
    let config = shortened("train_gan.yaml", ("epochs: ", "epochs: 1 # "), &folder);
    let mut showers = Command::new(venv::python().unwrap());
    showers.arg(repository().join("examples/showers.py"));
    showers.arg("60").arg(&folder);
    assert!(showers.status().unwrap().success());
    let arguments = [made("."), made("gan.safetensors"), config];
    run(&lab, "train_gan.sbatch", &arguments);
    assert!(folder.join("gan.safetensors").exists());
    lab.stop();
}
