//! Climate indices against `cdo`, on generated daily values of four years, some missing.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::{Path, PathBuf};

use mizar_array::storage::Source;

use cube::{Sample, assert_close, cdo, has, read, run, write_sample};

/// Four years of daily values around 280; less 275 they serve as amounts.
fn daily(folder: &Path) -> PathBuf {
    let file = folder.join("daily.nc");
    let sample = Sample {
        steps: 1461,
        lats: 3,
        lons: 4,
        calendar: "standard",
        ..Sample::default()
    };
    write_sample(&file, &sample);
    file
}

fn check(line: &str, file: &Path, folder: &Path) {
    let line = line.replace('F', &file.display().to_string());
    let (ours, theirs) = (folder.join("mizar.nc"), folder.join("cdo.nc"));
    run(&format!("-b F64 {line} {}", ours.display()))
        .unwrap_or_else(|e| panic!("{line}: {}", e.chain()));
    cdo(&format!("-b F64 {line} {}", theirs.display()));
    let output = Source::open(&theirs).unwrap();
    let data = output.dataset().data_variables();
    assert!(!data.is_empty(), "{line}");
    for index in data {
        let name = &output.dataset().variables[index].name;
        let context = format!("{line}: {name}");
        assert_close(&context, &read(&ours, name), &read(&theirs, name));
    }
}

#[test]
fn indices_of_one_input_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    // Of any values: most is compared where the limit is in their midst.
    let temperatures = [
        "fd", "id", "su", "su,5", "tr", "hd", "hd,15,10", "cfd", "csu,5,3",
    ];
    for name in temperatures {
        check(&format!("-eca_{name} F"), &file, folder.path());
    }
    let amounts = [
        "rr1", "r10mm", "r20mm", "pd,5", "sdii", "rx1day", "rx5day", "rx5day,7", "cdd", "cwd",
        "cdd,2,3",
    ];
    for name in amounts {
        check(&format!("-eca_{name} -subc,275 F"), &file, folder.path());
    }
    check("-eca_etr F -subc,3 F", &file, folder.path());
    for name in ["fd", "id", "su,5", "tr,1"] {
        check(&format!("-etccdi_{name} F"), &file, folder.path());
    }
    for line in ["-eca_fd,freq=year F", "-eca_su,5,freq=month F"] {
        check(line, &file, folder.path());
    }
}

#[test]
fn indices_with_a_reference_agree_with_cdo() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = daily(folder.path());
    // One year: of several cdo takes the last one's day. cdo forgets the first of two parameters
    // of cwdi.
    let year = "-seltimestep,1/365 F";
    let names = [
        "hwdi,2,3", "cwdi,2", "cwdi,6,3", "hwfi,2", "cwfi,2", "hwfi", "tx90p", "tx10p", "tn90p",
        "tn10p", "tg90p", "tg10p",
    ];
    for name in names {
        let line = format!("-eca_{name} {year} -addc,560 -mulc,-1 {year}");
        check(&line, &file, folder.path());
    }
    for percent in [75, 90, 95, 99] {
        for end in ["p", "ptot"] {
            let reference = format!("-addc,3 -mulc,0.2 -subc,275 {year}");
            let line = format!("-eca_r{percent}{end} -subc,275 {year} {reference}");
            check(&line, &file, folder.path());
        }
    }
}
