//! A real browser reads a page, and the figures that a page shows are those of its JSON.

use std::path::Path;

use serde::Serialize;

/// The figures that a page shows with their exact values: name and value.
fn figures(page: &str) -> Vec<(String, String)> {
    let attribute = |text: &str, name: &str| {
        let rest = text.split_once(&format!("{name}=\"")).unwrap().1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let tags = page.split("<").filter(|tag| tag.contains("data-figure="));
    tags.map(|tag| (attribute(tag, "data-figure"), attribute(tag, "data-value")))
        .collect()
}

/// Each figure of the page has the value that the JSON has at its name.
pub(crate) fn assert_figures_are_those_of_the_json(page: &str, report: &impl Serialize) {
    let json = serde_json::to_value(report).unwrap();
    let figures = figures(page);
    assert!(figures.len() >= 8, "{figures:?}");
    for (name, shown) in figures {
        let pointer = format!("/{}", name.replace('.', "/"));
        let expected = json
            .pointer(&pointer)
            .unwrap_or_else(|| panic!("no {name} in the JSON"));
        match expected.as_f64() {
            Some(number) => assert_eq!(shown.parse::<f64>().unwrap(), number, "{name}"),
            None => assert_eq!(shown, "null", "{name}"),
        }
    }
}

/// The document after a browser has read it, and what the browser said.
pub(crate) fn drawn(file: &Path, folder: &Path) -> Option<(String, String)> {
    mizar_lab::browser::drawn(&format!("file://{}", file.display()), folder, &[])
}
