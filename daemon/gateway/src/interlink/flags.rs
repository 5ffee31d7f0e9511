//! Options of sbatch that a pod asks for: split into words, looked up in the list of what is
//! allowed, and merged so that the later wins, whichever name it was given by.

use std::collections::BTreeMap;

use super::PodError;
use crate::service::ALLOWED_OPTIONS;

/// Most words of one annotation.
const MAX_WORDS: usize = 100;

/// Longest value of an option.
const MAX_VALUE_BYTES: usize = 1024;

/// One-letter names of the options that are allowed.
const SHORT: [(char, &str); 12] = [
    ('A', "account"),
    ('C', "constraint"),
    ('G', "gpus"),
    ('L', "licenses"),
    ('N', "nodes"),
    ('O', "overcommit"),
    ('S', "core-spec"),
    ('c', "cpus-per-task"),
    ('n', "ntasks"),
    ('p', "partition"),
    ('q', "qos"),
    ('t', "time"),
];

/// Options that have no value, or need none.
const BARE: [&str; 6] = [
    "contiguous",
    "exclusive",
    "mizar",
    "no-requeue",
    "overcommit",
    "requeue",
];

/// Options by their long names; an empty value is a bare flag.
pub type Options = BTreeMap<String, String>;

/// Reads an annotation: a JSON array of words, or one line of them in which quotes join words
/// and a backslash is an ordinary character.
///
/// # Errors
/// [`PodError`] if it is neither, or holds a control character.
pub fn words(name: &str, text: &str) -> Result<Vec<String>, PodError> {
    let error = |problem: &str| PodError::new(format!("metadata.annotations[{name}]"), problem);
    let words = if text.trim_start().starts_with('[') {
        serde_json::from_str(text)
            .map_err(|_| error("begins like a JSON array of texts and is none"))?
    } else {
        split(text).ok_or_else(|| error("has a quote that does not end"))?
    };
    if words.len() > MAX_WORDS {
        return Err(error("has more than 100 words"));
    }
    if text.chars().any(char::is_control)
        || words
            .iter()
            .any(|word: &String| word.chars().any(char::is_control))
    {
        return Err(error("holds a control character"));
    }
    Ok(words)
}

fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Adds options to `options`; `at` names where they are from.
///
/// # Errors
/// [`PodError`] for what is no allowed option, or has no acceptable value.
pub fn merge(options: &mut Options, at: &str, words: &[String]) -> Result<(), PodError> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let shown = word.escape_debug();
        let error = |problem: String| PodError::new(at, problem);
        let (name, attached) = if let Some(long) = word.strip_prefix("--") {
            match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            }
        } else if let Some(letters) = word.strip_prefix('-') {
            let mut letters = letters.chars();
            let letter = letters.next();
            let known = SHORT.iter().find(|(short, _)| Some(*short) == letter);
            let name = known.map_or("", |(_, name)| name);
            let attached = letters.as_str();
            (name, (!attached.is_empty()).then_some(attached))
        } else {
            return Err(error(format!("`{shown}` is no option")));
        };
        if !ALLOWED_OPTIONS.contains(&name) {
            return Err(error(format!(
                "the option `{shown}` is not allowed; allowed are {}",
                ALLOWED_OPTIONS.join(", ")
            )));
        }
        let value = match attached {
            Some(value) => value,
            None if BARE.contains(&name) => "",
            None => rest
                .next()
                .ok_or_else(|| error(format!("the option `{shown}` has no value")))?,
        };
        check_value(value).map_err(|problem| error(format!("the value of `{name}` {problem}")))?;
        if attached.is_none() && !BARE.contains(&name) && value.starts_with('-') {
            return Err(error(format!("the option `{shown}` has no value")));
        }
        options.insert(name.to_owned(), value.to_owned());
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), &'static str> {
    if value.len() > MAX_VALUE_BYTES {
        Err("is too long")
    } else if value.chars().any(char::is_control) {
        Err("holds a control character")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, PodError> {
        let mut options = Options::new();
        merge(&mut options, "flags", &words("flags", text)?)?;
        Ok(options)
    }

    #[test]
    fn the_later_wins_by_either_name() {
        let options =
            read("-p cpu --time=10 -t20 --partition gpu --exclusive --constraint='a b'").unwrap();
        let found: Vec<_> = options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("constraint", "a b"),
                ("exclusive", ""),
                ("partition", "gpu"),
                ("time", "20")
            ]
        );
        assert_eq!(
            read(r#"["-p", "a b", "--no-requeue"]"#).unwrap()["partition"],
            "a b"
        );
    }

    #[test]
    fn nothing_else_gets_through() {
        for text in [
            "--uid=0",
            "--gid=0",
            "--wrap=id",
            "--output=/x",
            "-o /x",
            "--error=/x",
            "-e/x",
            "--input=/x",
            "-i /x",
            "--chdir=/",
            "-D /",
            "--export=ALL",
            "--export-file=x",
            "--get-user-env",
            "--job-name=x",
            "-J x",
            "--comment=x",
            "--array=1-9",
            "-a 1-9",
            "--prolog=x",
            "--task-prolog=x",
            "--bcast=x",
            "-",
            "--",
            "--=x",
            "id",
            "; id",
            "$(id)",
            "-p",
            "--partition",
            "-p --uid=0",
            "--partition\n=x",
            "-p 'a\nb'",
            "--part=x",
            "-w n1",
            "--clusters=all",
            "-M all",
            "'--uid",
            r#"["--uid=0"]"#,
            r#"["-p","a\u0000b"]"#,
            "[1]",
            "--dependency=afterok:1",
            "--signal=B:9@1",
            "--mail-user=x",
            "--partitionx=x",
            "-Px",
        ] {
            assert!(read(text).is_err(), "{text:?} gave {:?}", read(text));
        }
    }
}
