//! The page and the drawings of a scalability report: safe, self-contained, with the figures of
//! the JSON; drawn by a real browser.
#![allow(clippy::unwrap_used, reason = "tests")]

mod browser;

use browser::{assert_figures_are_those_of_the_json, drawn};
use mizar_report::scaling::synthetic::{Training, record};
use mizar_report::scaling::{
    Options, analyse, drawing, page, record as records, schema::Scaling, tables, text,
};

fn report() -> Scaling {
    let mut runs = Vec::new();
    for (name, serial) in [("ddp", 0.02), ("<zero> & \"co\"", 0.05)] {
        for ranks in [1_u32, 2, 4, 8, 16] {
            for factor in [0.98, 1.0, 1.03] {
                let time = factor * 20.0 * (serial + (1.0 - serial) / f64::from(ranks));
                let training = Training {
                    id: runs.len() as u32 + 1,
                    nodes: ranks.div_ceil(4),
                    ranks_per_node: ranks.min(4),
                    epochs_s: [2.5, 1.0, 1.001, 0.999, 1.0, 1.0]
                        .map(|share| share * time)
                        .into(),
                    samples: Some(5000.0),
                    gpu_watts: Some(280.0),
                    node_watts: Some(900.0),
                    split: Some([
                        0.9 - 0.02 * f64::from(ranks),
                        0.05 + 0.02 * f64::from(ranks),
                        0.02,
                        0.03,
                    ]),
                    ..Training::default()
                };
                runs.extend(records::runs(&record(&training), Some(name)));
            }
        }
    }
    let diverged = record(&Training {
        id: 99,
        diverged: true,
        ..Training::default()
    });
    runs.extend(records::runs(&diverged, Some("ddp")));
    let options = Options {
        deadline_s: Some(600.0),
        epochs: 100.0,
        ..Options::default()
    };
    analyse(&runs, &options)
}

#[test]
fn users_text_cannot_become_markup_and_nothing_outside_is_asked_for() {
    let report = report();
    let page = page::render(&report).unwrap();
    assert!(!page.contains("<zero>") && !page.contains("<script"));
    // The name of SVG's namespace is no request.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for reference in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!page.contains(reference), "{reference} is in the page");
    }
}

#[test]
fn a_browser_draws_the_page_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    let file = folder.path().join("scaling.html");
    let page = page::render(&report).unwrap();
    assert_figures_are_those_of_the_json(&page, &report);
    if let Some(kept) = std::env::var_os("MIZAR_KEEP_PAGES") {
        std::fs::write(std::path::Path::new(&kept).join("scaling.html"), &page).unwrap();
    }
    std::fs::write(&file, page).unwrap();
    let Some((page, complaints)) = drawn(&file, folder.path()) else {
        return;
    };
    assert_figures_are_those_of_the_json(&page, &report);
    assert!(!complaints.contains("CONSOLE"), "{complaints}");
    assert_eq!(page.matches("class=\"plot\"").count(), 7);
}

#[test]
fn plots_have_itwinais_names_and_are_sound_xml_with_a_bar_of_error_a_figure() {
    let report = report();
    let drawings = drawing::drawings(&report);
    let names: Vec<&str> = drawings.iter().map(|drawing| drawing.name).collect();
    for name in [
        "absolute_epoch_time",
        "relative_epoch_time_speedup",
        "gpu_energy_plot",
        "utilization_plot",
        "computation_vs_other_plot",
        "computation_vs_communication_plot",
    ] {
        assert!(names.contains(&name), "{name} is missing");
    }
    let folder = tempfile::tempdir().unwrap();
    for drawing in &drawings {
        let file = folder.path().join(drawing.name).with_extension("svg");
        std::fs::write(&file, drawing.file()).unwrap();
        let Some((_, complaints)) = drawn(&file, folder.path()) else {
            return;
        };
        assert!(!complaints.contains("CONSOLE"), "{complaints}");
    }
    let times = &drawings[0].svg;
    assert_eq!(
        times.matches("class=\"whisker").count(),
        report.points.len()
    );
    assert_eq!(times.matches("class=\"law").count(), 2);
}

#[test]
fn columns_match_headers_and_begin_with_itwinais() {
    let tables = tables::tables(&report());
    for table in &tables {
        for row in &table.rows {
            assert_eq!(row.len(), table.header.len(), "{}", table.name);
        }
    }
    let header = |name: &str| {
        &tables
            .iter()
            .find(|table| table.name == name)
            .unwrap()
            .header
    };
    assert_eq!(
        header("epoch_time")[..3],
        ["strategy", "global_world_size", "avg_epoch_time"]
    );
    assert_eq!(
        header("gpu_data")[..4],
        [
            "strategy",
            "global_world_size",
            "total_energy_wh",
            "utilization"
        ]
    );
    assert_eq!(
        header("computation_fraction")[..3],
        ["num_gpus", "strategy", "computation_fraction"]
    );
    let split = tables
        .iter()
        .find(|table| table.name == "computation_fraction")
        .unwrap();
    assert_eq!(split.rows[0][0], "1", "GPUs under num_gpus");
    let csv = tables[0].csv();
    assert!(csv.contains("\"<zero> & \"\"co\"\"\",1,"), "{csv}");
}

#[test]
fn the_text_reads_as_expected() {
    insta::assert_snapshot!(text::render(&report()));
}
