//! Selections: of variables, levels, boxes and steps. They only shorten dimensions; the plan
//! turns them into smaller reads.

mod keys;
pub(crate) mod levels;
mod names;
mod space;
pub(crate) mod steps;
mod table;

pub(crate) use table::table;

use crate::cube::Cube;

/// Keeps some variables and what they need to be understood.
pub(crate) fn keep(cube: &mut Cube, variables: &[usize]) {
    let mut kept = variables.to_vec();
    for &variable in variables {
        kept.extend(cube.dataset.companions(variable));
    }
    cube.retain(|index| kept.contains(&index));
}

/// Whether a name is as a pattern says, in which `*` stands for any letters and `?` for one.
pub(crate) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Where to go on when letters after the last `*` turn out not to fit.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((star, taken)) = retry {
            retry = Some((star, taken + 1));
            (p, n) = (star + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, name, expected) in [
            ("tas", "tas", true),
            ("tas", "tasmax", false),
            ("ta*", "tasmax", true),
            ("*a*x", "tasmax", true),
            ("t?s", "tas", true),
            ("t?s", "ts", false),
            ("*", "", true),
            ("a*b*c", "abxbyc", true),
            ("a*b*c", "abxbyd", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
