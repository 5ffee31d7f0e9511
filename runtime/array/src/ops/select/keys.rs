//! `select` and `delete`: several selections at once, as `key=value[,value...]`.

use super::{levels, names, steps};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::{Context, Parameters};

const EXPECTED: &str = "key=value[,value...] with the keys name, level, levrange, levidx, date, \
                        startdate, enddate, year, month, day, hour, season, timestep";

/// One key with its values.
struct Key<'a> {
    name: &'a str,
    values: Vec<String>,
}

/// `select`.
pub(super) fn select(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    apply(cube, context, true)
}

/// `delete`: what one of several keys names is deleted; fields are whole variables, levels or
/// steps.
pub(super) fn delete(cube: &mut Cube, context: &mut Context<'_>) -> Result<(), CubeError> {
    let keys = keys(&context.parameters())?;
    if keys.len() > 1 {
        let wrong = context
            .parameters()
            .wrong(1, "one key: chain `-delete` for more");
        return Err(wrong);
    }
    apply(cube, context, false)
}

fn keys<'a>(parameters: &Parameters<'a>) -> Result<Vec<Key<'a>>, CubeError> {
    let mut keys: Vec<Key<'a>> = Vec::new();
    for (index, word) in parameters.values.iter().enumerate() {
        match (word.split_once('='), keys.last_mut()) {
            (Some((name, value)), _) => keys.push(Key {
                name,
                values: vec![value.to_owned()],
            }),
            (None, Some(key)) => key.values.push(word.clone()),
            (None, None) => return Err(parameters.wrong(index, EXPECTED)),
        }
    }
    Ok(keys)
}

/// Applies the keys one after the other; steps last, because they need the dates of all.
fn apply(cube: &mut Cube, context: &mut Context<'_>, wanted: bool) -> Result<(), CubeError> {
    let parameters = context.parameters();
    let keys = keys(&parameters)?;
    let mut chosen: Option<Vec<bool>> = None;
    for (index, key) in keys.iter().enumerate() {
        let values = Parameters {
            operator: context.name(),
            values: &key.values,
        };
        match key.name {
            "name" => {
                let named = names::named(cube, &key.values, context);
                let mut kept = cube.dataset.data_variables();
                kept.retain(|variable| named.contains(variable) == wanted);
                names::keep_some(cube, &kept, context)?;
            }
            "level" | "levrange" | "levidx" => by_level(cube, context, key, wanted)?,
            _ => {
                let found = steps_of(cube, context, key.name, &values)?;
                let found = found.ok_or_else(|| parameters.wrong(index, EXPECTED))?;
                chosen = Some(match chosen {
                    None => found,
                    Some(before) => before.iter().zip(found).map(|(a, b)| *a && b).collect(),
                });
            }
        }
    }
    let Some(mut chosen) = chosen else {
        return Ok(());
    };
    chosen
        .iter_mut()
        .for_each(|chosen| *chosen = *chosen == wanted);
    let steps = steps::Steps::of(cube, context.name())?;
    steps.pick(cube, context.name(), &chosen)
}

fn by_level(
    cube: &mut Cube,
    context: &mut Context<'_>,
    key: &Key<'_>,
    wanted: bool,
) -> Result<(), CubeError> {
    let values = Parameters {
        operator: context.name(),
        values: &key.values,
    };
    if key.name == "levidx" {
        let indices = values.numbers(1..=levels::INDEX_MAX, "indices of levels from 1")?;
        return levels::pick(cube, context, wanted, |index, _| {
            indices.contains(&(index as i64 + 1))
        });
    }
    let numbers = (0..key.values.len()).map(|index| values.number(index, "a level"));
    let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
    match (key.name, numbers.as_slice()) {
        ("levrange", &[first, last]) => {
            let range = first.min(last)..=first.max(last);
            levels::pick(cube, context, wanted, |_, level| range.contains(&level))
        }
        ("levrange", _) => Err(values.wrong(0, "the first and the last level of a range")),
        _ => levels::pick(cube, context, wanted, |_, level| {
            numbers.iter().any(|&number| levels::is_near(level, number))
        }),
    }
}

/// Which steps a key stands for; none for an unknown key.
fn steps_of(
    cube: &Cube,
    context: &mut Context<'_>,
    key: &str,
    values: &Parameters<'_>,
) -> Result<Option<Vec<bool>>, CubeError> {
    let steps = steps::Steps::of(cube, context.name())?;
    let calendar = steps.time.axis.calendar;
    let date = |index: usize, is_end| {
        let text = values.values.get(index).map_or("", String::as_str);
        let date = steps::parse_date(text, is_end, calendar);
        date.ok_or_else(|| values.wrong(index, "a date YYYY-MM-DD[Thh:mm:ss]"))
    };
    let part = match key {
        "year" => steps::YEAR,
        "month" => steps::MONTH,
        "day" => steps::DAY,
        "hour" => steps::HOUR,
        "season" => {
            let months = steps::season_months(values)?;
            return Ok(Some(steps.in_months(&months)));
        }
        "timestep" => {
            let numbers = steps::step_numbers(values, steps.len())?;
            let chosen = (1..=steps.len() as i64).map(|step| numbers.contains(&step));
            return Ok(Some(chosen.collect()));
        }
        "startdate" => return Ok(Some(steps.between(Some(&date(0, false)?), None))),
        "enddate" => return Ok(Some(steps.between(None, Some(&date(0, true)?)))),
        "date" => {
            let mut chosen = vec![false; steps.len()];
            for index in 0..values.values.len() {
                let found = steps.between(Some(&date(index, false)?), Some(&date(index, true)?));
                chosen.iter_mut().zip(found).for_each(|(a, b)| *a |= b);
            }
            return Ok(Some(chosen));
        }
        _ => return Ok(None),
    };
    let wanted = values.numbers(part.lowest..=part.highest, part.expected)?;
    Ok(Some(steps.with_part(&part, &wanted, context)))
}
