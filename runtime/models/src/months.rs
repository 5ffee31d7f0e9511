//! The mean of each month of a year, as a model with anomalies has it, and which months it lacks.

use std::collections::BTreeMap;

/// Of each variable: its shape (12 months, channels, cells), and the means; NaN where nothing is
/// known.
pub type Climatology = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

const NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The months of which some variable has not a single mean: `March, April and May`. `None` if all
/// are known.
#[must_use]
pub fn missing_months(climatology: &Climatology) -> Option<String> {
    let lacks = |month: usize| {
        climatology.values().any(|(_, means)| {
            let size = means.len() / 12;
            let own = &means[month * size..(month + 1) * size];
            own.iter().all(|mean| mean.is_nan())
        })
    };
    let months = (0..12).filter(|month| lacks(*month));
    let names: Vec<&str> = months.map(|month| NAMES[month]).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        [some @ .., last] => Some(format!("{} and {last}", some.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_without_a_mean_are_named() {
        // The second cell is sea: it has none in any month.
        let means = |known: &[usize]| {
            let mut means = vec![f32::NAN; 24];
            known.iter().for_each(|month| means[month * 2] = 280.0);
            BTreeMap::from([("tas".to_owned(), (vec![12, 1, 2], means))])
        };
        let all: Vec<usize> = (0..12).collect();
        assert_eq!(missing_months(&means(&all)), None);
        assert_eq!(missing_months(&means(&all[1..])).unwrap(), "January");
        let some = missing_months(&means(&all[..9])).unwrap();
        assert_eq!(some, "October, November and December");
        assert_eq!(missing_months(&BTreeMap::new()), None);
    }
}
