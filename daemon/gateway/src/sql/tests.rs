//! What the specification says, case by case; bad definitions with their columns; no text and no
//! event that makes it panic.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// An event with attributes of each kind.
fn event() -> Json {
    json!({
        "specversion": "1.0", "id": "my-id", "source": "https://example.org/a", "type": "org.example.made",
        "subject": "raw/run-7.nc", "time": "2026-04-26T14:48:09+02:00", "flag": true, "number": 10,
        "large": 3_000_000_000_u64, "hop": "5", "ttl": "10", "word": "FALSE", "tricky": "a1x23%4_9_z",
        "first": "Ada", "last": "Byron", "data": {"n": 1}
    })
}

/// What an expression gives as people write it, and the kind of its fault.
fn told(text: &str) -> (String, &'static str) {
    let expression: Expression = text
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let event = event();
    let Outcome { value, fault } = expression.evaluate(&event);
    if let Some(kind) = expression.gives() {
        assert_eq!(value.kind(), kind, "{text}");
    }
    let value = match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::String(value) => format!("'{value}'"),
    };
    let fault = fault.map_or("", |fault| match fault {
        Fault::MissingAttribute { .. } => "missing",
        Fault::Cast { .. } => "cast",
        Fault::Math { .. } => "math",
        Fault::Function { .. } => "function",
    });
    (value, fault)
}

#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (text, value, fault) in cases {
        assert_eq!(told(text), ((*value).to_owned(), *fault), "{text}");
    }
}

#[test]
fn literals_and_attributes() {
    check(&[
        ("true", "true", ""),
        ("FaLsE", "false", ""),
        ("0", "0", ""),
        ("-2147483648", "-2147483648", ""),
        ("2147483647", "2147483647", ""),
        ("+7", "7", ""),
        ("'aBc'", "'aBc'", ""),
        ("\"aBc\"", "'aBc'", ""),
        (r#"'a"b\'c'"#, r#"'a"b'c'"#, ""),
        (r#""a'b\"c""#, r#"'a'b"c'"#, ""),
        ("'é☃'", "'é☃'", ""),
        ("id", "'my-id'", ""),
        ("time", "'2026-04-26T14:48:09+02:00'", ""),
        ("flag", "true", ""),
        ("number", "10", ""),
        ("large", "'3000000000'", ""),
        ("missing", "''", "missing"),
        ("((id))", "'my-id'", ""),
    ]);
}

#[test]
fn comparisons_take_the_left_side_as_what_the_right_one_is() {
    check(&[
        ("TRUE = FALSE", "false", ""),
        ("2 = 2", "true", ""),
        ("'abc' = 'ABC'", "false", ""),
        ("'abc' != '123'", "true", ""),
        ("1 <> 1", "false", ""),
        ("true = 'TRUE'", "false", ""),
        ("true = 'true'", "true", ""),
        ("'TRUE' = true", "true", ""),
        ("'7' = 7", "true", ""),
        ("'abc' = 7", "false", "cast"),
        ("'abc' != 7", "false", "cast"),
        ("number = '10'", "true", ""),
        ("hop = 5", "true", ""),
        ("hop < ttl", "true", ""),
        ("'10' > '9'", "true", ""),
        ("2 <= 2", "true", ""),
        ("2 >= 3", "false", ""),
        ("id < 2", "false", "cast"),
        ("missing = 2", "false", "missing"),
        ("missing != 2", "false", "missing"),
        ("missing <> 2", "false", "missing"),
        ("missing <= 2", "false", "missing"),
        ("2 = missing", "false", "missing"),
    ]);
}

#[test]
fn logic_stops_early_and_faults_are_false() {
    check(&[
        ("TRUE AND FALSE", "false", ""),
        ("true and true", "true", ""),
        ("FALSE OR TRUE", "true", ""),
        ("TRUE XOR TRUE", "false", ""),
        ("FALSE XOR TRUE", "true", ""),
        ("false AND (1 != 1 / 0)", "false", ""),
        ("true AND (1 != 1 / 0)", "false", "math"),
        ("true OR (1 != 1 / 0)", "true", ""),
        ("false OR (1 != 1 / 0)", "false", "math"),
        ("(missing = 1) OR true", "false", "missing"),
        ("NOT TRUE", "false", ""),
        ("NOT 'FALSE'", "true", ""),
        ("NOT word", "true", ""),
        ("NOT 10", "false", ""),
        ("NOT 'ten'", "false", "cast"),
        ("NOT missing", "false", "missing"),
        ("NOT NOT flag", "true", ""),
        // NOT before =, AND before OR before XOR.
        ("NOT false = true", "true", ""),
        ("true OR true AND false", "true", ""),
        ("true XOR true OR true", "false", ""),
        ("false AND false OR true", "true", ""),
        ("1 + 1 = 2 AND 3 > 2", "true", ""),
    ]);
}

#[test]
fn arithmetic_of_32_bits() {
    check(&[
        ("4 * 2 + 4 / 2", "10", ""),
        ("4 * (2 + 4) / 2", "12", ""),
        ("7 - 2 - 1", "4", ""),
        ("5 / 3", "1", ""),
        ("-5 / 3", "-1", ""),
        ("5 % 2", "1", ""),
        ("-5 % 3", "-2", ""),
        ("5 % -3", "2", ""),
        ("5 / 0", "0", "math"),
        ("5 % 0", "0", "math"),
        ("missing / 0", "0", "missing"),
        ("missing % 0", "0", "missing"),
        ("-4 + -1", "-5", ""),
        ("4 -1", "3", ""),
        ("4-1", "3", ""),
        ("'5' + '3'", "8", ""),
        ("5 + TRUE", "6", ""),
        ("5 + 'x'", "0", "cast"),
        ("--10", "10", ""),
        ("-'10'", "-10", ""),
        ("--'10'", "10", ""),
        ("-TRUE", "-1", ""),
        ("-missing", "0", "missing"),
        ("-INT('-2147483648')", "2147483647", "math"),
        ("2147483647 + 1", "0", "math"),
        ("-2147483648 - 1", "0", "math"),
        ("65536 * 65536", "0", "math"),
        ("-2147483648 / -1", "0", "math"),
        ("-2147483648 % -1", "0", ""),
    ]);
}

#[test]
fn like_in_and_exists() {
    check(&[
        ("'abc' LIKE 'abc'", "true", ""),
        (r"'ab\c' LIKE 'ab\c'", "true", ""),
        ("'abc' NOT LIKE 'abc'", "false", ""),
        ("'azzzbzzzc' LIKE 'a%b%c'", "true", ""),
        ("'ac' LIKE 'abc'", "false", ""),
        ("'' LIKE '%'", "true", ""),
        ("'' LIKE '_'", "false", ""),
        ("'.ab.cde.' LIKE '.%.%.'", "true", ""),
        ("'ab.cde' LIKE '.%.%.'", "false", ""),
        ("'azbzc' LIKE 'a_b_c'", "true", ""),
        ("'azbc' LIKE 'a_b_c'", "false", ""),
        (r"'a_b_c' LIKE 'a\_b\_c'", "true", ""),
        (r"'azbzc' LIKE 'a\_b\_c'", "false", ""),
        (r"'a%c' LIKE 'a\%c'", "true", ""),
        (r"'abc' LIKE 'a\%c'", "false", ""),
        (r"tricky LIKE 'a1%2_\%4\_9\__'", "true", ""),
        ("234 LIKE '23_'", "true", ""),
        ("TRUE LIKE 'tr%'", "true", ""),
        (
            "subject LIKE 'raw/%.nc' AND type = 'org.example.made'",
            "true",
            "",
        ),
        ("missing LIKE '%'", "false", "missing"),
        ("missing NOT LIKE '%'", "false", "missing"),
        ("id IN ('x', 'my-id')", "true", ""),
        ("id NOT IN ('x', 'my-id')", "false", ""),
        ("id IN ('x')", "false", ""),
        ("number IN (9, '10')", "true", ""),
        ("number IN ('ten')", "false", "cast"),
        ("flag IN ('TRUE')", "true", ""),
        ("missing IN (1)", "false", "missing"),
        ("missing NOT IN (1)", "false", "missing"),
        ("id IN (missing)", "false", "missing"),
        ("hop IN (CONCAT('', 5), 1 + 1)", "true", ""),
        ("EXISTS id", "true", ""),
        ("EXISTS missing", "false", ""),
        ("NOT EXISTS missing", "true", ""),
        ("EXISTS missing AND missing = 1", "false", ""),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("ABS(-10)", "10", ""),
        ("abs(0)", "0", ""),
        ("ABS(-2147483648)", "2147483647", "math"),
        ("INT('-1')", "-1", ""),
        ("INT(FALSE)", "0", ""),
        ("INT('ABC')", "0", "cast"),
        ("INT('2147483648')", "0", "cast"),
        ("BOOL(\"false\")", "false", ""),
        ("BOOL(-50)", "true", ""),
        ("BOOL('ABC')", "false", "cast"),
        ("STRING(TRUE)", "'true'", ""),
        ("STRING(-1)", "'-1'", ""),
        ("IS_INT('7')", "true", ""),
        ("IS_INT(id)", "false", ""),
        ("IS_BOOL('True')", "true", ""),
        ("IS_BOOL(id)", "false", ""),
        ("LENGTH('abc')", "3", ""),
        ("LENGTH('é☃')", "2", ""),
        ("LENGTH(TRUE)", "4", ""),
        ("LENGTH(missing)", "0", "missing"),
        ("CONCAT()", "''", ""),
        ("CONCAT('a', 1, true)", "'a1true'", ""),
        ("CONCAT_WS(',')", "''", ""),
        ("CONCAT_WS(',', 'a')", "'a'", ""),
        ("CONCAT_WS(', ', first, last)", "'Ada, Byron'", ""),
        ("LOWER('AbÇ')", "'abç'", ""),
        ("UPPER('AbC')", "'ABC'", ""),
        ("TRIM(' \t a b \n')", "'a b'", ""),
        ("LEFT('abc', 2)", "'ab'", ""),
        ("LEFT('abc', 10)", "'abc'", ""),
        ("LEFT('', 0)", "''", ""),
        ("LEFT('abc', -2)", "'abc'", "function"),
        ("LENGTH(LEFT('abc', -2))", "0", "function"),
        ("RIGHT('abc', 2)", "'bc'", ""),
        ("RIGHT('abc', 10)", "'abc'", ""),
        ("RIGHT('abc', -2)", "'abc'", "function"),
        ("LEFT('abc', 'x')", "''", "cast"),
        ("SUBSTRING('abcdef', 1)", "'abcdef'", ""),
        ("SUBSTRING('Quadratically', 5)", "'ratically'", ""),
        ("SUBSTRING('Sakila', -3)", "'ila'", ""),
        ("SUBSTRING('abcdef', 2, 4)", "'bcde'", ""),
        ("SUBSTRING('abcdef', 2, 99)", "'bcdef'", ""),
        ("SUBSTRING('Sakila', -5, 3)", "'aki'", ""),
        ("SUBSTRING('abc', 0)", "''", ""),
        ("SUBSTRING('abc', 0, 1)", "''", ""),
        ("SUBSTRING('abcdef', 10)", "''", "function"),
        ("SUBSTRING('abcdef', -10)", "''", "function"),
        ("SUBSTRING('abcdef', 10, 10)", "''", "function"),
        ("SUBSTRING('abcdef', 1, -1)", "''", "function"),
        ("SUBSTRING('☃é', -1)", "'é'", ""),
        ("int(hop) < int(ttl) and int(hop) < 1000", "true", ""),
    ]);
}

#[test]
fn a_filter_passes_only_what_is_true_without_a_fault() {
    let passes = |text: &str| text.parse::<Expression>().unwrap().passes(&event());
    assert!(passes("type LIKE 'org.%'"));
    assert!(passes("flag"));
    for text in [
        "number",
        "id",
        "'true'",
        "missing = 1 OR true",
        "NOT (missing = 1)",
    ] {
        assert!(!passes(text), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_column() {
    for (text, column, part) in [
        ("", 1, "found the end"),
        ("type = ", 8, "found the end"),
        ("type == 'x'", 7, "found `=`"),
        ("type = 'x", 8, "no closing '"),
        ("type = 'x' subject", 12, "an operator or the end"),
        ("(type = 'x'", 12, "expected `)`"),
        ("type = 'x')", 11, "an operator or the end"),
        ("Type = 'x'", 1, "a-z and 0-9"),
        ("type = x_y", 8, "a-z and 0-9"),
        ("data = 1", 1, "does not look into `data`"),
        ("1 = 2147483648", 5, "beyond"),
        ("- 2147483649", 1, "-2147483649 is beyond"),
        ("NOPE(1)", 1, "there is no function `NOPE`"),
        ("1 = CONCAT_WS()", 5, "at least 1"),
        ("SUBSTRING('a')", 1, "2 to 3"),
        ("ABS(1, 2)", 1, "takes 1 values, not 2"),
        ("id LIKE id", 9, "a pattern in quotes"),
        ("id IN ()", 9, "at least one"),
        ("id IN 'a'", 7, "expected `(`"),
        ("EXISTS 'a'", 8, "the name of an attribute"),
        ("é = 1", 1, "`é` means nothing"),
        ("'é' ; 1", 5, "`;` means nothing"),
        ("id NOT 'a'", 4, "found `NOT`"),
        ("1 + + 'a'", 7, "a number"),
    ] {
        let error = text.parse::<Expression>().unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.problem.contains(part), "{text}: {error}");
    }
}

#[test]
fn length_nesting_and_size_are_bounded() {
    let refused = |text: String, part: &str| {
        let error = text.parse::<Expression>().unwrap_err();
        assert!(error.problem.contains(part), "{error}");
    };
    let nested =
        |open: &str, close: &str, n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
    assert!(nested("(", ")", 60).parse::<Expression>().is_ok());
    refused(nested("(", ")", 70), "nested deeper");
    refused(nested("(", ")", 2000), "nested deeper");
    refused(nested("NOT ", "", 900), "nested deeper");
    refused(nested("-", "", 4000), "nested deeper");
    refused(nested("STRING(", ")", 400), "nested deeper");
    refused(nested("id IN (", ")", 400), "nested deeper");
    refused(format!("1{}", " + 1".repeat(1000)), "512 operators");
    refused("'".repeat(5000), "4096 bytes");
    refused(format!("{}'é'", " ".repeat(4094)), "4096 bytes");
    // A long value of an event, many times.
    let long = json!({"id": "x".repeat(60_000)});
    let many = format!("CONCAT({}) = ''", vec!["id"; 200].join(", "));
    let many: Expression = many.parse().unwrap();
    assert!(matches!(
        many.evaluate(&long).fault,
        Some(Fault::Function { .. })
    ));
    let longer = json!({"id": "x".repeat(70_000)});
    let like: Expression = "id LIKE '%'".parse().unwrap();
    assert!(!like.passes(&longer));
}

#[test]
fn it_is_read_and_shown_as_it_was_written() {
    let text = "type = 'x' AND  NOT (EXISTS y)";
    let expression: Expression = serde_json::from_value(json!(text)).unwrap();
    assert_eq!(serde_json::to_value(&expression).unwrap(), json!(text));
    assert!(expression.mentions("type") && expression.mentions("y") && !expression.mentions("x"));
    let error = serde_json::from_value::<Expression>(json!("type = ")).unwrap_err();
    assert!(error.to_string().contains("column 8"), "{error}");
}

/// Expressions that are always well-formed, with what they give where no attribute is missing.
fn arithmetic() -> impl Strategy<Value = (String, Option<i32>)> {
    let leaf = (-1000_i32..1000).prop_map(|n| (n.to_string(), Some(n)));
    leaf.prop_recursive(4, 32, 2, |inner| {
        (inner.clone(), 0..5_usize, inner).prop_map(|((a, x), operator, (b, y))| {
            let value = x.zip(y).and_then(|(x, y)| match operator {
                0 => x.checked_add(y),
                1 => x.checked_sub(y),
                2 => x.checked_mul(y),
                3 => x.checked_div(y),
                _ => x.checked_rem(y),
            });
            (
                format!("({a} {} {b})", ["+", "-", "*", "/", "%"][operator]),
                value,
            )
        })
    })
}

/// Words of the language in any order.
fn babble() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "AND",
        "OR",
        "XOR",
        "NOT",
        "LIKE",
        "IN",
        "EXISTS",
        "TRUE",
        "id",
        "missing",
        "flag",
        "1",
        "-",
        "+",
        "*",
        "/",
        "%",
        "=",
        "!=",
        "<",
        "(",
        ")",
        ",",
        "'a%'",
        "\"b\"",
        "CONCAT(",
        "LEFT(",
        "SUBSTRING(",
        "''",
    ]);
    prop::collection::vec(word, 0..14).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", words in babble()) {
        for text in [text, words] {
            match text.parse::<Expression>() {
                Ok(expression) => {
                    let (event, empty) = (event(), json!({}));
                    for event in [&event, &empty, &Json::Null] {
                        let outcome = expression.evaluate(event);
                        let passes = outcome.fault.is_none() && outcome.value == Value::Boolean(true);
                        prop_assert_eq!(expression.passes(event), passes);
                        if let Some(kind) = expression.gives() {
                            prop_assert_eq!(outcome.value.kind(), kind);
                        }
                    }
                    let again: Expression = expression.to_string().parse().unwrap();
                    prop_assert_eq!(again, expression);
                }
                Err(error) => prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1),
            }
        }
    }

    #[test]
    fn arithmetic_is_that_of_the_machine((text, value) in arithmetic()) {
        let expression: Expression = text.parse().unwrap();
        let event = json!({});
        let outcome = expression.evaluate(&event);
        match value {
            Some(value) => prop_assert_eq!(outcome.value, Value::Integer(value)),
            None => prop_assert!(outcome.fault.is_some()),
        }
    }

    #[test]
    fn like_agrees_with_a_slow_one(text in "[ab%_\\\\]{0,8}", pattern in "([ab%_]|\\\\%|\\\\_){0,6}") {
        fn slow(pattern: &[char], text: &[char]) -> bool {
            match pattern {
                [] => text.is_empty(),
                ['\\', c @ ('%' | '_'), rest @ ..] => text.first() == Some(c) && slow(rest, &text[1..]),
                ['%', rest @ ..] => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
                ['_', rest @ ..] => !text.is_empty() && slow(rest, &text[1..]),
                [c, rest @ ..] => text.first() == Some(c) && slow(rest, &text[1..]),
            }
        }
        let expression: Expression = format!("id LIKE '{pattern}'").parse().unwrap();
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = slow(&characters(&pattern), &characters(&text));
        prop_assert_eq!(expression.passes(&json!({"id": text})), expected);
    }

    #[test]
    fn a_quoted_text_is_itself(text in "\\PC{0,20}") {
        // A backslash before the closing quote would escape it, and one before a quote does.
        let plain: String = text.chars().filter(|c| *c != '\\').collect();
        let quoted = format!("'{}'", plain.replace('\'', "\\'"));
        let expression: Expression = quoted.parse().unwrap();
        let event = json!({});
        prop_assert_eq!(expression.evaluate(&event).value, Value::String(plain.into()));
    }
}
