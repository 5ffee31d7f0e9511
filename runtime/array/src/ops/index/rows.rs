//! The indices, as [`super::table`] makes operators of them.

use super::kernel::{Rule, Test};
use super::reference::Second;
use super::season::Part;
use super::spells::Measure;
use super::table::Row;

/// 0 °C in kelvin.
const ZERO: f64 = 273.15;

/// Parameters of days above or below a temperature.
const TEMPERATURE: &str = "[t][,freq=year|month]";

/// Every index that is not another by ETCCDI's name.
pub(super) fn rows() -> Vec<Row> {
    let families = [
        temperature(),
        precipitation(),
        wind(),
        spells(),
        waves(),
        beyond_reference(),
        beyond_base(),
        seasons(),
    ];
    families.into_iter().flatten().collect()
}

fn temperature() -> Vec<Row> {
    vec![
        Row::new("eca_fd", "Days below 0 degrees Celsius").gives(
            "frost_days_index_per_time_period",
            "",
            |_| Rule::Count(Test::Below(ZERO)),
        ),
        Row::new("eca_id", "Days whose maximum is below 0 degrees Celsius").gives(
            "ice_days_index_per_time_period",
            "No.",
            |_| Rule::Count(Test::Below(ZERO)),
        ),
        Row::new(
            "eca_su",
            "Days above a temperature, by default 25 degrees Celsius",
        )
        .numbers(TEMPERATURE, &[25.0])
        .gives("summer_days_index_per_time_period", "", |p| {
            Rule::Count(Test::Above(ZERO + p[0]))
        }),
        Row::new(
            "eca_tr",
            "Days whose minimum is above a temperature, by default 20 degrees Celsius",
        )
        .numbers(TEMPERATURE, &[20.0])
        .gives("tropical_nights_index_per_time_period", "No.", |p| {
            Rule::Count(Test::Above(ZERO + p[0]))
        }),
        Row::new("eca_hd", "Heating degree days: what cold days lack")
            .numbers("[t1[,t2]][,freq=year|month]", &[17.0, 17.0])
            .gives("heating_degree_days_per_time_period", "No.", |p| {
                Rule::Deficit(ZERO + p[0], ZERO + p[1])
            }),
        Row::new(
            "eca_etr",
            "Greatest value of the first input minus least of the second",
        )
        .second(Second::Series)
        .gives("intra_period_extreme_temperature_range", "", |_| {
            Rule::RangeOverBoth
        }),
        Row::new(
            "fdns",
            "Days below 0 degrees Celsius with less than 1 cm of snow (in m, the second input)",
        )
        .second(Second::Series)
        .gives("frost_days_where_no_snow_index_per_time_period", "", |_| {
            Rule::Count(Test::BothBelow(ZERO, 0.01))
        }),
    ]
}

fn precipitation() -> Vec<Row> {
    // Of at least so much.
    let wet = |name, summary, output, units, limit| {
        let rule = move |_: &[f64]| Rule::Count(Test::AtLeast(limit));
        Row::new(name, summary).gives(output, units, rule)
    };
    let wet_days = |name| {
        let summary = "Days of at least so much precipitation, by default 1 mm";
        Row::new(name, summary)
            .numbers("[r][,freq=year|month]", &[1.0])
            .gives("wet_days_index_per_time_period", "No.", |p| {
                Rule::Count(Test::AtLeast(p[0]))
            })
    };
    let (mm1, mm10, mm20) = (
        "Days of at least 1 mm of precipitation",
        "Days of at least 10 mm of precipitation",
        "Days of at least 20 mm of precipitation",
    );
    vec![
        wet_days("eca_rr1"),
        wet_days("eca_r1mm"),
        wet(
            "eca_r10mm",
            mm10,
            "heavy_precipitation_days_index_per_time_period",
            "No.",
            10.0,
        ),
        wet(
            "eca_r20mm",
            mm20,
            "very_heavy_precipitation_days_index_per_time_period",
            "No.",
            20.0,
        ),
        wet("etccdi_r1mm", mm1, "r1mmETCCDI", "days", 1.0).yearly(),
        wet("etccdi_r10mm", mm10, "r10mmETCCDI", "days", 10.0).yearly(),
        wet("etccdi_r20mm", mm20, "r20mmETCCDI", "days", 20.0).yearly(),
        Row::new("eca_pd", "Days of at least so much precipitation")
            .numbers("x[,freq=year|month]", &[f64::NAN])
            .gives("precipitation_days_index_per_time_period", "No.", |p| {
                Rule::Count(Test::AtLeast(p[0]))
            }),
        Row::new(
            "eca_sdii",
            "Mean precipitation of wet days, by default of at least 1 mm",
        )
        .numbers("[r][,freq=year|month]", &[1.0])
        .gives("simple_daily_intensity_index_per_time_period", "mm", |p| {
            Rule::MeanOf(Test::AtLeast(p[0]))
        }),
        Row::new("eca_rx1day", "Most precipitation of one day").gives(
            "highest_one_day_precipitation_amount_per_time_period",
            "mm per day",
            |_| Rule::Maximum,
        ),
        Row::new(
            "eca_rx5day",
            "Most precipitation of five days (the input), and how often it was more than 50 mm",
        )
        .numbers("[x][,freq=year|month]", &[50.0])
        .gives(
            "highest_five_day_precipitation_amount_per_time_period",
            "mm per 5 day",
            |_| Rule::Maximum,
        )
        .and(
            "number_of_5day_heavy_precipitation_periods_per_time_period",
            "Five-day sums of more than {n}",
            "No.",
            |p| Rule::Count(Test::Above(p[0])),
        ),
    ]
}

fn wind() -> Vec<Row> {
    let row = |name, summary, what: &str, limit: Option<f64>| {
        let test = move |p: &[f64]| Test::AtLeast(limit.unwrap_or_else(|| p[0]));
        let days = format!("strong_{what}_days_index_per_time_period");
        Row::new(name, summary)
            .gives(&days, "", move |p| Rule::Count(test(p)))
            .and(
                &format!("consecutive_{days}"),
                "Longest run of such days",
                "",
                move |p| Rule::Spells(test(p), Measure::Longest),
            )
    };
    let wind = "Days of wind of at least a speed, by default 10.5 m/s, and their longest run";
    let breeze = "Days of wind of at least 10.5 m/s, and their longest run";
    let gale = "Days of wind of at least 20.5 m/s, and their longest run";
    vec![
        row("strwin", wind, "wind", None).numbers("[v][,freq=year|month]", &[10.5]),
        row("strbre", breeze, "breeze", Some(10.5)),
        row("strgal", gale, "gale", Some(20.5)),
    ]
}

/// The longest run of days of a kind and the number of long ones.
fn spells() -> Vec<Row> {
    let row = |name, summary, short: &str, output, units, test: fn(&[f64]) -> Test| {
        let long = format!("number_of_{short}_periods_with_more_than_{{n}}days_per_time_period");
        Row::new(name, summary)
            .gives(output, units, move |p| {
                Rule::Spells(test(p), Measure::Longest)
            })
            .and(&long, "Runs of more than {n} days", "No.", move |p| {
                let days = p[p.len() - 1] as usize;
                Rule::Spells(test(p), Measure::CountOf(days + 1))
            })
    };
    vec![
        row(
            "eca_cdd",
            "Longest run of days of less than 1 mm, and long runs",
            "cdd",
            "consecutive_dry_days_index_per_time_period",
            "No.",
            |p| Test::Below(p[0]),
        )
        .numbers("[r[,n]][,freq=year|month]", &[1.0, 5.0]),
        row(
            "eca_cwd",
            "Longest run of days of at least 1 mm, and long runs",
            "cwd",
            "consecutive_wet_days_index_per_time_period",
            "No.",
            |p| Test::AtLeast(p[0]),
        )
        .numbers("[r[,n]][,freq=year|month]", &[1.0, 5.0]),
        row(
            "eca_cfd",
            "Longest run of days below 0 degrees Celsius, and long runs",
            "cfd",
            "consecutive_frost_days_index_per_time_period",
            "",
            |_| Test::Below(ZERO),
        )
        .numbers("[n][,freq=year|month]", &[5.0]),
        row(
            "eca_csu",
            "Longest run of days above 25 degrees Celsius, and long runs",
            "csu",
            "consecutive_summer_days_index_per_time_period",
            "",
            |p| Test::Above(ZERO + p[0]),
        )
        .numbers("[t[,n]][,freq=year|month]", &[25.0, 5.0]),
    ]
}

/// Days in long runs beyond a reference, and the number of these runs.
fn waves() -> Vec<Row> {
    let row = |name, summary, output, periods, test: fn(f64) -> Test| {
        let make = move |p: &[f64], measure: fn(usize) -> Measure| {
            let offset = p.get(1).copied().unwrap_or(0.0);
            Rule::Spells(test(offset), measure(p[0] as usize))
        };
        let long_name = "Runs of as many such days";
        Row::new(name, summary)
            .second(Second::Reference)
            .gives(output, "No.", move |p| make(p, Measure::DaysOf))
            .and(periods, long_name, "No.", move |p| {
                make(p, Measure::CountOf)
            })
    };
    let (days, both) = ("[n][,freq=year|month]", "[n[,t]][,freq=year|month]");
    vec![
        row(
            "eca_hwdi",
            "Days of heat waves: 6 or more in a row 5 K above the reference",
            "heat_wave_duration_index_wrt_mean_of_reference_period",
            "heat_waves_per_time_period",
            Test::AboveReference,
        )
        .numbers(both, &[6.0, 5.0]),
        row(
            "eca_cwdi",
            "Days of cold waves: 6 or more in a row 5 K below the reference",
            "cold_wave_duration_index_wrt_mean_of_reference_period",
            "cold_waves_per_time_period",
            Test::BelowReference,
        )
        .numbers(both, &[6.0, 5.0]),
        row(
            "eca_hwfi",
            "Days of warm spells: 6 or more in a row above the reference",
            "warm_spell_days_index_wrt_90th_percentile_of_reference_period",
            "warm_spell_periods_per_time_period",
            Test::AboveReference,
        )
        .numbers(days, &[6.0]),
        row(
            "eca_cwfi",
            "Days of cold spells: 6 or more in a row below the reference",
            "cold_spell_days_index_wrt_10th_percentile_of_reference_period",
            "cold_spell_periods_per_time_period",
            Test::BelowReference,
        )
        .numbers(days, &[6.0]),
    ]
}

/// Percents of days, or of what falls on them, beyond a reference.
fn beyond_reference() -> Vec<Row> {
    let row = |name, summary, output, rule| {
        Row::new(name, summary)
            .second(Second::Reference)
            .gives(output, "Percent", move |_| rule)
    };
    let above = Rule::Percent(Test::AboveReference(0.0));
    let below = Rule::Percent(Test::BelowReference(0.0));
    vec![
        row(
            "eca_tx90p",
            "Percent of days whose maximum temperature is above the reference",
            "very_warm_days_percent_wrt_90th_percentile_of_reference_period",
            above,
        ),
        row(
            "eca_tx10p",
            "Percent of days whose maximum temperature is below the reference",
            "very_cold_days_percent_wrt_10th_percentile_of_reference_period",
            below,
        ),
        row(
            "eca_tn90p",
            "Percent of days whose minimum temperature is above the reference",
            "warm_nights_percent_wrt_90th_percentile_of_reference_period",
            above,
        ),
        row(
            "eca_tn10p",
            "Percent of days whose minimum temperature is below the reference",
            "cold_nights_percent_wrt_10th_percentile_of_reference_period",
            below,
        ),
        row(
            "eca_tg90p",
            "Percent of days whose mean temperature is above the reference",
            "warm_days_percent_wrt_90th_percentile_of_reference_period",
            above,
        ),
        row(
            "eca_tg10p",
            "Percent of days whose mean temperature is below the reference",
            "cold_days_percent_wrt_10th_percentile_of_reference_period",
            below,
        ),
        row(
            "eca_r75p",
            "Percent of wet days above the reference, the 75th percentile",
            "moderate_wet_days_wrt_75th_percentile_of_reference_period",
            Rule::WetPercent,
        ),
        row(
            "eca_r75ptot",
            "Percent of precipitation on days above the reference, the 75th percentile",
            "precipitation_percent_due_to_R75p_days",
            Rule::WetShare,
        ),
        row(
            "eca_r90p",
            "Percent of wet days above the reference, the 90th percentile",
            "wet_days_wrt_90th_percentile_of_reference_period",
            Rule::WetPercent,
        ),
        row(
            "eca_r90ptot",
            "Percent of precipitation on days above the reference, the 90th percentile",
            "precipitation_percent_due_to_R90p_days",
            Rule::WetShare,
        ),
        row(
            "eca_r95p",
            "Percent of wet days above the reference, the 95th percentile",
            "very_wet_days_wrt_95th_percentile_of_reference_period",
            Rule::WetPercent,
        ),
        row(
            "eca_r95ptot",
            "Percent of precipitation on days above the reference, the 95th percentile",
            "precipitation_percent_due_to_R95p_days",
            Rule::WetShare,
        ),
        row(
            "eca_r99p",
            "Percent of wet days above the reference, the 99th percentile",
            "extremely_wet_days_wrt_99th_percentile_of_reference_period",
            Rule::WetPercent,
        ),
        row(
            "eca_r99ptot",
            "Percent of precipitation on days above the reference, the 99th percentile",
            "precipitation_percent_due_to_R99p_days",
            Rule::WetShare,
        ),
    ]
}

/// Days beyond a percentile of a base period of the series itself.
fn beyond_base() -> Vec<Row> {
    let share = |name: &'static str, summary, output, is_above, percentile| {
        Row::new(name, summary)
            .numbers(
                "n,startboot,endboot[,freq=year|month]",
                &[f64::NAN, f64::NAN, f64::NAN],
            )
            .second(Second::Extremes)
            .yearly()
            .gives(output, "%", move |p| Rule::BeyondBase {
                is_above,
                percentile,
                window_days: p[0] as usize,
                years: (p[1] as i32, p[2] as i32),
            })
    };
    let total = |name, summary, output, percentile| {
        Row::new(name, summary)
            .numbers("startboot,endboot[,freq=year|month]", &[f64::NAN, f64::NAN])
            .second(Second::Extremes)
            .yearly()
            .gives(output, "mm", move |p| Rule::HeavyTotal {
                percentile,
                years: (p[0] as i32, p[1] as i32),
            })
    };
    vec![
        share(
            "etccdi_tx90p",
            "Percent of days whose maximum is above the 90th percentile of a base period",
            "tx90pETCCDI",
            true,
            0.9,
        ),
        share(
            "etccdi_tx10p",
            "Percent of days whose maximum is below the 10th percentile of a base period",
            "tx10pETCCDI",
            false,
            0.1,
        ),
        share(
            "etccdi_tn90p",
            "Percent of days whose minimum is above the 90th percentile of a base period",
            "tn90pETCCDI",
            true,
            0.9,
        ),
        share(
            "etccdi_tn10p",
            "Percent of days whose minimum is below the 10th percentile of a base period",
            "tn10pETCCDI",
            false,
            0.1,
        ),
        total(
            "etccdi_r95p",
            "Precipitation of days above the 95th percentile of a base period",
            "r95pETCCDI",
            0.95,
        ),
        total(
            "etccdi_r99p",
            "Precipitation of days above the 99th percentile of a base period",
            "r99pETCCDI",
            0.99,
        ),
    ]
}

fn seasons() -> Vec<Row> {
    let rule = |part| {
        move |p: &[f64]| Rule::Season {
            part,
            days: p[0] as usize,
            limit: ZERO + p[1],
        }
    };
    vec![
        Row::new(
            "eca_gsl",
            "Length of the growing season of each year, and its first day",
        )
        .numbers("[nday[,T[,fland]]]", &[6.0, 5.0, 0.5])
        .second(Second::Land(0.5))
        .yearly()
        .gives("thermal_growing_season_length", "No.", rule(Part::Length))
        .and(
            "day_of_year_of_growing_season_start",
            "Day of the year on which the growing season starts",
            "No.",
            rule(Part::Start),
        ),
    ]
}
