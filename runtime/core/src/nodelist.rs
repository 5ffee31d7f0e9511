//! Slurm's compressed node lists (`n[001-3,7],m2`), expanded with their padding kept.
//!
//! The plugin needs the first node of a step, reports need all of them. A list comes from an
//! environment that users can write, so what it claims is bounded ([`MAX_NODES`]) before
//! anything is allocated for it.
//!
//! Left out: the base-36 coordinates of BlueGene lists, which no current Slurm writes.

/// The most nodes one list may stand for: past the largest machines, small enough that a list
/// like `n[1-999999999]` costs nothing.
pub const MAX_NODES: usize = 65_536;

/// The longest name, as for any host (RFC 1123).
const MAX_NAME_BYTES: usize = 255;

/// Digits in one bound of a range: any number this long still fits in 64 bits.
const MAX_DIGITS: usize = 18;

/// Why a node list could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NodeListError {
    /// Nothing where a name must be: an empty list, `a,,b`, `n[]`.
    #[error("node list `{list}` has an empty name or range")]
    Empty {
        /// The list.
        list: String,
    },
    /// A bracket without its partner, or one inside another.
    #[error("node list `{list}` has unbalanced or nested brackets")]
    Brackets {
        /// The list.
        list: String,
    },
    /// Neither `7` nor `001-003`, or a range that runs backwards.
    #[error("`{range}` in a node list is no range; expected numbers like `7` or `001-016`")]
    Range {
        /// What stood between the brackets or commas.
        range: String,
    },
    /// A character that no node name has.
    #[error("node list has {found:?}, which no node name contains")]
    Character {
        /// The character.
        found: char,
    },
    /// A name of more than 255 bytes.
    #[error("node name `{name}` is longer than {MAX_NAME_BYTES} bytes")]
    LongName {
        /// How it begins.
        name: String,
    },
    /// More than [`MAX_NODES`].
    #[error("node list `{list}` stands for more than {MAX_NODES} nodes")]
    TooMany {
        /// The list.
        list: String,
    },
}

/// Returns the names that `list` stands for, in its order; the last bracket varies fastest.
///
/// # Errors
/// [`NodeListError`] if the list is malformed or stands for more than [`MAX_NODES`].
pub fn expand(list: &str) -> Result<Vec<String>, NodeListError> {
    let items = parse(list)?;
    let mut names = Vec::new();
    for item in &items {
        let mut partial = vec![String::new()];
        for part in item {
            partial = partial
                .iter()
                .flat_map(|stem| part.texts().map(move |text| format!("{stem}{text}")))
                .collect();
        }
        names.append(&mut partial);
    }
    Ok(names)
}

/// Returns how many names `list` stands for, without expanding it.
///
/// # Errors
/// As [`expand`].
pub fn count(list: &str) -> Result<usize, NodeListError> {
    Ok(parse(list)?.iter().map(|item| item_count(item)).sum())
}

/// Returns the first name of `list`, without expanding it: where rank 0 runs.
///
/// # Errors
/// As [`expand`].
pub fn first(list: &str) -> Result<String, NodeListError> {
    let items = parse(list)?;
    let item = items.first().ok_or_else(|| empty(list))?;
    Ok(item.iter().filter_map(|part| part.texts().next()).collect())
}

/// A stretch of a name: fixed text, or the numbers in brackets.
#[derive(Debug)]
enum Part<'a> {
    Text(&'a str),
    Ranges(Vec<Range>),
}

/// `lo-hi`, written with at least `width` digits.
#[derive(Clone, Copy, Debug)]
struct Range {
    low: u64,
    high: u64,
    width: usize,
}

impl Part<'_> {
    fn texts(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Self::Text(text) => Box::new(std::iter::once((*text).to_owned())),
            Self::Ranges(ranges) => Box::new(ranges.iter().flat_map(|range| {
                let width = range.width;
                (range.low..=range.high).map(move |number| format!("{number:0width$}"))
            })),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Text(_) => 1,
            Self::Ranges(ranges) => ranges
                .iter()
                .map(|range| usize::try_from(range.high - range.low).unwrap_or(usize::MAX))
                .fold(0_usize, |sum, count| {
                    sum.saturating_add(count).saturating_add(1)
                }),
        }
    }

    /// At most this much of a name.
    fn longest_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ranges(_) => MAX_DIGITS,
        }
    }
}

fn item_count(item: &[Part<'_>]) -> usize {
    item.iter().map(Part::count).fold(1, usize::saturating_mul)
}

fn parse(list: &str) -> Result<Vec<Vec<Part<'_>>>, NodeListError> {
    let mut items = Vec::new();
    let mut total = 0_usize;
    for text in split_outside_brackets(list)? {
        let item = parse_item(text, list)?;
        total = total.saturating_add(item_count(&item));
        if total > MAX_NODES {
            return Err(NodeListError::TooMany {
                list: shorten(list),
            });
        }
        items.push(item);
    }
    Ok(items)
}

/// Splits at the commas between names; those inside brackets belong to their range.
fn split_outside_brackets(list: &str) -> Result<Vec<&str>, NodeListError> {
    let mut items = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (index, found) in list.char_indices() {
        match found {
            '[' if inside => return Err(brackets(list)),
            ']' if !inside => return Err(brackets(list)),
            '[' => inside = true,
            ']' => inside = false,
            ',' if !inside => {
                items.push(&list[start..index]);
                start = index + 1;
            }
            ',' | '-' | '_' | '.' => {}
            _ if found.is_ascii_alphanumeric() => {}
            _ => return Err(NodeListError::Character { found }),
        }
    }
    if inside {
        return Err(brackets(list));
    }
    items.push(&list[start..]);
    Ok(items)
}

/// `item` has balanced brackets, none inside another.
fn parse_item<'a>(item: &'a str, list: &str) -> Result<Vec<Part<'a>>, NodeListError> {
    if item.is_empty() {
        return Err(empty(list));
    }
    let mut parts = Vec::new();
    let mut rest = item;
    while let Some((text, after)) = rest.split_once('[') {
        let (ranges, tail) = after.split_once(']').ok_or_else(|| brackets(list))?;
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        parts.push(Part::Ranges(
            ranges
                .split(',')
                .map(parse_range)
                .collect::<Result<_, _>>()?,
        ));
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    if parts.iter().map(Part::longest_bytes).sum::<usize>() > MAX_NAME_BYTES {
        return Err(NodeListError::LongName {
            name: shorten(item),
        });
    }
    Ok(parts)
}

fn parse_range(text: &str) -> Result<Range, NodeListError> {
    let bad = || NodeListError::Range {
        range: shorten(text),
    };
    let number = |digits: &str| {
        let plain = (1..=MAX_DIGITS).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain
            .then(|| digits.parse::<u64>().ok())
            .flatten()
            .ok_or_else(bad)
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let range = Range {
        low: number(low)?,
        high: number(high)?,
        width: low.len(),
    };
    if range.high < range.low {
        Err(bad())
    } else {
        Ok(range)
    }
}

fn empty(list: &str) -> NodeListError {
    NodeListError::Empty {
        list: shorten(list),
    }
}

fn brackets(list: &str) -> NodeListError {
    NodeListError::Brackets {
        list: shorten(list),
    }
}

/// Enough of a text to recognise it in a message; the text may be as long as its writer liked.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_expand_as_scontrol_show_hostnames_does() {
        for (list, names) in [
            ("n1", &["n1"][..]),
            ("localhost", &["localhost"]),
            ("n[1-3]", &["n1", "n2", "n3"]),
            ("n[8-11]", &["n8", "n9", "n10", "n11"]),
            ("n[001-3,7],m2", &["n001", "n002", "n003", "n7", "m2"]),
            ("n[098-101]", &["n098", "n099", "n100", "n101"]),
            ("n[1,3,5]", &["n1", "n3", "n5"]),
            ("n[1,1]", &["n1", "n1"]),
            ("n[0-1]-ib", &["n0-ib", "n1-ib"]),
            ("r[1-2]n[01-02]", &["r1n01", "r1n02", "r2n01", "r2n02"]),
            ("r[1-2][3-4]", &["r13", "r14", "r23", "r24"]),
            ("a,b,c", &["a", "b", "c"]),
            ("a-b_c.d,e[5]", &["a-b_c.d", "e5"]),
            ("[1-2]", &["1", "2"]),
            ("n[00]", &["n00"]),
        ] {
            assert_eq!(expand(list).unwrap(), names, "{list}");
            assert_eq!(first(list).unwrap(), names[0], "{list}");
            assert_eq!(count(list).unwrap(), names.len(), "{list}");
        }
    }

    #[test]
    fn malformed_lists_are_named_errors() {
        for (list, found) in [
            (
                "",
                NodeListError::Empty {
                    list: String::new(),
                },
            ),
            (
                "a,",
                NodeListError::Empty {
                    list: "a,".to_owned(),
                },
            ),
            (
                "a,,b",
                NodeListError::Empty {
                    list: "a,,b".to_owned(),
                },
            ),
            (
                "n[1-2",
                NodeListError::Brackets {
                    list: "n[1-2".to_owned(),
                },
            ),
            (
                "n1]",
                NodeListError::Brackets {
                    list: "n1]".to_owned(),
                },
            ),
            (
                "n[1[2]]",
                NodeListError::Brackets {
                    list: "n[1[2]]".to_owned(),
                },
            ),
            (
                "n[]",
                NodeListError::Range {
                    range: String::new(),
                },
            ),
            (
                "n[1,]",
                NodeListError::Range {
                    range: String::new(),
                },
            ),
            (
                "n[3-1]",
                NodeListError::Range {
                    range: "3-1".to_owned(),
                },
            ),
            (
                "n[1-2-3]",
                NodeListError::Range {
                    range: "1-2-3".to_owned(),
                },
            ),
            (
                "n[a-c]",
                NodeListError::Range {
                    range: "a-c".to_owned(),
                },
            ),
            (
                "n[-1]",
                NodeListError::Range {
                    range: "-1".to_owned(),
                },
            ),
            ("(null)", NodeListError::Character { found: '(' }),
            ("n1 n2", NodeListError::Character { found: ' ' }),
            ("nœud", NodeListError::Character { found: 'œ' }),
        ] {
            assert_eq!(expand(list), Err(found), "{list}");
        }
    }

    #[test]
    fn a_list_that_lies_about_its_size_is_refused_at_once() {
        for list in [
            "n[1-999999999]",
            "n[0-999999999999999999]",
            "n[0-999999999999999999][0-999999999999999999]",
            "n[1-300]m[1-300]",
            "n[1-65536],m",
        ] {
            assert!(
                matches!(expand(list), Err(NodeListError::TooMany { .. })),
                "{list}"
            );
            assert!(
                matches!(first(list), Err(NodeListError::TooMany { .. })),
                "{list}"
            );
        }
        assert!(matches!(
            expand("n[1-9999999999999999999]"),
            Err(NodeListError::Range { .. })
        ));
        assert_eq!(count("n[1-65536]"), Ok(MAX_NODES));
    }

    #[test]
    fn a_message_shows_no_more_than_the_start_of_a_long_list() {
        let message = expand(&"é".repeat(10_000)).unwrap_err().to_string();
        assert!(message.len() < 200, "{message}");
        for list in [
            format!("{}[", "n".repeat(10_000)),
            format!("{}[1-9]", "n".repeat(10_000)),
        ] {
            let message = expand(&list).unwrap_err().to_string();
            assert!(message.len() < 200, "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_list_written_from_ranges_reads_back_as_their_names(
            groups in prop::collection::vec(
                ("[a-z]{1,4}", 1_usize..5, prop::collection::vec((0_u64..500, 0_u64..12), 1..4)),
                1..4,
            ),
        ) {
            let (mut lists, mut names) = (Vec::new(), Vec::new());
            for (prefix, width, ranges) in &groups {
                let written: Vec<String> = ranges
                    .iter()
                    .map(|(low, more)| format!("{low:0width$}-{:0width$}", low + more))
                    .collect();
                lists.push(format!("{prefix}[{}]", written.join(",")));
                for (low, more) in ranges {
                    // The first bound's digits are the padding, as in Slurm.
                    let digits = format!("{low:0width$}").len();
                    names.extend((*low..=low + more).map(|n| format!("{prefix}{n:0digits$}")));
                }
            }
            let list = lists.join(",");
            prop_assert_eq!(count(&list), Ok(names.len()));
            prop_assert_eq!(first(&list), Ok(names[0].clone()));
            prop_assert_eq!(expand(&list), Ok(names));
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_disagree_with_itself(text in "[a-c0-9,\\[\\]\\-]{0,24}") {
            match expand(&text) {
                Ok(names) => {
                    prop_assert_eq!(count(&text), Ok(names.len()));
                    prop_assert_eq!(first(&text), Ok(names[0].clone()));
                }
                Err(error) => prop_assert_eq!(count(&text), Err(error)),
            }
        }
    }
}
