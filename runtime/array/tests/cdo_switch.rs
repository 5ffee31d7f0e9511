//! `--cdo`: the old numbers, where Mizar's differ on purpose, against `cdo` itself.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::Path;

use cube::{Sample, assert_close, cdo, has, read, run, write_sample};

/// Steps of six hours, stamped at the end of their bounds: the last of a day is the next's.
fn write_stamped_at_end(path: &Path, dtype: &str) {
    let script = "import netCDF4, numpy, sys\n\
        data = netCDF4.Dataset(sys.argv[1], 'w')\n\
        for name, size in [('time', 40), ('lat', 3), ('lon', 4), ('bnds', 2)]:\n\
        \x20   data.createDimension(name, size)\n\
        time = data.createVariable('time', 'f8', ('time',))\n\
        time.setncatts({'units': 'hours since 2001-01-01', 'calendar': 'standard', 'bounds': 'time_bnds'})\n\
        time[:] = numpy.arange(1, 41) * 6\n\
        data.createVariable('time_bnds', 'f8', ('time', 'bnds'))[:] = numpy.stack([time[:] - 6, time[:]], 1)\n\
        for name, unit, values in [('lat', 'degrees_north', [-10, 0, 10]), ('lon', 'degrees_east', [0, 10, 20, 30])]:\n\
        \x20   data.createVariable(name, 'f8', (name,)).units = unit\n\
        \x20   data[name][:] = values\n\
        tas = data.createVariable('tas', sys.argv[2], ('time', 'lat', 'lon'), fill_value=-99)\n\
        values = numpy.random.default_rng(3).integers(250, 300, (40, 3, 4))\n\
        values[5::7] = -99\n\
        tas[:] = numpy.ma.masked_equal(values, -99)\n\
        data.close()\n";
    let python = mizar_lab::venv::python().unwrap();
    let status = std::process::Command::new(python)
        .args(["-c", script])
        .arg(path)
        .arg(dtype)
        .status()
        .unwrap();
    assert!(status.success());
}

fn both(line: &str, folder: &Path) -> [(Vec<usize>, Vec<f64>); 2] {
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!("--cdo {line} {}", ours.display())).unwrap_or_else(|e| panic!("{line}: {e}"));
    cdo(&format!("{line} {}", theirs.display()));
    [read(&ours, "tas"), read(&theirs, "tas")]
}

#[test]
fn the_switch_gives_the_old_numbers() {
    if !has("cdo", "cdo") || mizar_lab::venv::python().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (file, integers) = (folder.join("in.nc"), folder.join("integers.nc"));
    let sample = folder.join("sample.nc");
    write_stamped_at_end(&file, "f4");
    write_stamped_at_end(&integers, "i4");
    write_sample(&sample, &Sample::default());
    for line in [
        format!("-daymean {}", file.display()),
        format!("-daymax {}", file.display()),
        format!("-minc,280 {}", file.display()),
        format!("-maxc,280 {}", file.display()),
        format!("-fldmedian {}", sample.display()),
    ] {
        let [ours, theirs] = both(&line, folder);
        assert_close(&line, &ours, &theirs);
    }
    // cdo without -b, as `cdo` here is not run, keeps integers too.
    let output = folder.join("mizar.nc");
    run(&format!(
        "--cdo -timmean {} {}",
        integers.display(),
        output.display()
    ))
    .unwrap();
    let means = read(&output, "tas").1;
    assert!(means.iter().all(|mean| mean.fract() == 0.0), "{means:?}");
    // Without it the day of a step is that of its bounds.
    let line = format!("-daymean {}", file.display());
    run(&format!("{line} {}", output.display())).unwrap();
    assert_eq!(read(&output, "tas").0[0], 10);
    let [with, _] = both(&line, folder);
    assert_eq!(with.0[0], 11);
}
