//! The indices, as [`super::table`] makes operators of them.

use super::kernel::{Rule, Test};
use super::table::{Row, ZERO, count, output, plain, runs, waves};
use crate::ops::grouping::Grouping;

/// Every index.
pub(super) fn rows() -> Vec<Row> {
    vec![
        count!(
            "eca_fd",
            "frost_days_index_per_time_period",
            "",
            "Days below 0 degrees Celsius",
            "[freq=year|month]",
            &[],
            All,
            true,
            |_: &[f64]| Test::Below(ZERO)
        ),
        count!(
            "eca_id",
            "ice_days_index_per_time_period",
            "No.",
            "Days whose maximum is below 0 degrees Celsius",
            "[freq=year|month]",
            &[],
            All,
            true,
            |_: &[f64]| Test::Below(ZERO)
        ),
        count!(
            "eca_su",
            "summer_days_index_per_time_period",
            "",
            "Days above a temperature, by default 25 degrees Celsius",
            "[t][,freq=year|month]",
            &[25.0],
            All,
            true,
            |p: &[f64]| Test::Above(ZERO + p[0])
        ),
        count!(
            "eca_tr",
            "tropical_nights_index_per_time_period",
            "No.",
            "Days whose minimum is above a temperature, by default 20 degrees Celsius",
            "[t][,freq=year|month]",
            &[20.0],
            All,
            true,
            |p: &[f64]| Test::Above(ZERO + p[0])
        ),
        count!(
            "etccdi_fd",
            "fdETCCDI",
            "days",
            "Days below 0 degrees Celsius",
            "[freq=year|month]",
            &[],
            Year,
            true,
            |_: &[f64]| Test::Below(ZERO)
        ),
        count!(
            "etccdi_id",
            "idETCCDI",
            "days",
            "Days whose maximum is below 0 degrees Celsius",
            "[freq=year|month]",
            &[],
            Year,
            true,
            |_: &[f64]| Test::Below(ZERO)
        ),
        count!(
            "etccdi_su",
            "suETCCDI",
            "days",
            "Days above a temperature, by default 25 degrees Celsius",
            "[t][,freq=year|month]",
            &[25.0],
            Year,
            true,
            |p: &[f64]| Test::Above(ZERO + p[0])
        ),
        count!(
            "etccdi_tr",
            "trETCCDI",
            "days",
            "Days whose minimum is above a temperature, by default 20 degrees Celsius",
            "[t][,freq=year|month]",
            &[20.0],
            Year,
            true,
            |p: &[f64]| Test::Above(ZERO + p[0])
        ),
        count!(
            "eca_rr1",
            "wet_days_index_per_time_period",
            "No.",
            "Days of at least so much precipitation, by default 1 mm",
            "[r]",
            &[1.0],
            All,
            false,
            |p: &[f64]| Test::AtLeast(p[0])
        ),
        count!(
            "eca_r10mm",
            "heavy_precipitation_days_index_per_time_period",
            "No.",
            "Days of at least 10 mm of precipitation",
            "",
            &[],
            All,
            false,
            |_: &[f64]| Test::AtLeast(10.0)
        ),
        count!(
            "eca_r20mm",
            "very_heavy_precipitation_days_index_per_time_period",
            "No.",
            "Days of at least 20 mm of precipitation",
            "",
            &[],
            All,
            false,
            |_: &[f64]| Test::AtLeast(20.0)
        ),
        count!(
            "eca_pd",
            "precipitation_days_index_per_time_period",
            "No.",
            "Days of at least so much precipitation",
            "x",
            &[f64::NAN],
            All,
            false,
            |p: &[f64]| Test::AtLeast(p[0])
        ),
        runs!(
            "eca_cdd",
            "cdd",
            "consecutive_dry_days_index_per_time_period",
            "No.",
            "Longest run of days of less than 1 mm, and long runs",
            "[r[,n]]",
            &[1.0, 5.0],
            |p: &[f64]| Test::Below(p[0])
        ),
        runs!(
            "eca_cwd",
            "cwd",
            "consecutive_wet_days_index_per_time_period",
            "No.",
            "Longest run of days of at least 1 mm, and long runs",
            "[r[,n]]",
            &[1.0, 5.0],
            |p: &[f64]| Test::AtLeast(p[0])
        ),
        runs!(
            "eca_cfd",
            "cfd",
            "consecutive_frost_days_index_per_time_period",
            "",
            "Longest run of days below 0 degrees Celsius, and long runs",
            "[n]",
            &[5.0],
            |_: &[f64]| Test::Below(ZERO)
        ),
        runs!(
            "eca_csu",
            "csu",
            "consecutive_summer_days_index_per_time_period",
            "",
            "Longest run of days above 25 degrees Celsius, and long runs",
            "[t[,n]]",
            &[25.0, 5.0],
            |p: &[f64]| Test::Above(ZERO + p[0])
        ),
        waves!(
            "eca_hwdi",
            "heat_wave_duration_index_wrt_mean_of_reference_period",
            "heat_waves_per_time_period",
            "Days of heat waves: 6 or more in a row 5 K above the reference",
            "[n[,t]]",
            &[6.0, 5.0],
            AboveReference
        ),
        waves!(
            "eca_cwdi",
            "cold_wave_duration_index_wrt_mean_of_reference_period",
            "cold_waves_per_time_period",
            "Days of cold waves: 6 or more in a row 5 K below the reference",
            "[n[,t]]",
            &[6.0, 5.0],
            BelowReference
        ),
        waves!(
            "eca_hwfi",
            "warm_spell_days_index_wrt_90th_percentile_of_reference_period",
            "warm_spell_periods_per_time_period",
            "Days of warm spells: 6 or more in a row above the reference",
            "[n]",
            &[6.0],
            AboveReference
        ),
        waves!(
            "eca_cwfi",
            "cold_spell_days_index_wrt_10th_percentile_of_reference_period",
            "cold_spell_periods_per_time_period",
            "Days of cold spells: 6 or more in a row below the reference",
            "[n]",
            &[6.0],
            BelowReference
        ),
        plain!(
            "eca_rx1day",
            1,
            "highest_one_day_precipitation_amount_per_time_period",
            "mm per day",
            "Most precipitation of one day",
            Rule::Maximum
        ),
        plain!(
            "eca_etr",
            2,
            "intra_period_extreme_temperature_range",
            "",
            "Greatest value of the first input minus least of the second",
            Rule::RangeOverBoth
        ),
        plain!(
            "eca_tx90p",
            2,
            "very_warm_days_percent_wrt_90th_percentile_of_reference_period",
            "Percent",
            "Percent of days whose maximum temperature is above the reference",
            Rule::Percent(Test::AboveReference(0.0))
        ),
        plain!(
            "eca_tx10p",
            2,
            "very_cold_days_percent_wrt_10th_percentile_of_reference_period",
            "Percent",
            "Percent of days whose maximum temperature is below the reference",
            Rule::Percent(Test::BelowReference(0.0))
        ),
        plain!(
            "eca_tn90p",
            2,
            "warm_nights_percent_wrt_90th_percentile_of_reference_period",
            "Percent",
            "Percent of days whose minimum temperature is above the reference",
            Rule::Percent(Test::AboveReference(0.0))
        ),
        plain!(
            "eca_tn10p",
            2,
            "cold_nights_percent_wrt_10th_percentile_of_reference_period",
            "Percent",
            "Percent of days whose minimum temperature is below the reference",
            Rule::Percent(Test::BelowReference(0.0))
        ),
        plain!(
            "eca_tg90p",
            2,
            "warm_days_percent_wrt_90th_percentile_of_reference_period",
            "Percent",
            "Percent of days whose mean temperature is above the reference",
            Rule::Percent(Test::AboveReference(0.0))
        ),
        plain!(
            "eca_tg10p",
            2,
            "cold_days_percent_wrt_10th_percentile_of_reference_period",
            "Percent",
            "Percent of days whose mean temperature is below the reference",
            Rule::Percent(Test::BelowReference(0.0))
        ),
        plain!(
            "eca_r75p",
            2,
            "moderate_wet_days_wrt_75th_percentile_of_reference_period",
            "Percent",
            "Percent of wet days above the reference, the 75th percentile",
            Rule::WetPercent
        ),
        plain!(
            "eca_r75ptot",
            2,
            "precipitation_percent_due_to_R75p_days",
            "Percent",
            "Percent of precipitation on days above the reference, the 75th percentile",
            Rule::WetShare
        ),
        plain!(
            "eca_r90p",
            2,
            "wet_days_wrt_90th_percentile_of_reference_period",
            "Percent",
            "Percent of wet days above the reference, the 90th percentile",
            Rule::WetPercent
        ),
        plain!(
            "eca_r90ptot",
            2,
            "precipitation_percent_due_to_R90p_days",
            "Percent",
            "Percent of precipitation on days above the reference, the 90th percentile",
            Rule::WetShare
        ),
        plain!(
            "eca_r95p",
            2,
            "very_wet_days_wrt_95th_percentile_of_reference_period",
            "Percent",
            "Percent of wet days above the reference, the 95th percentile",
            Rule::WetPercent
        ),
        plain!(
            "eca_r95ptot",
            2,
            "precipitation_percent_due_to_R95p_days",
            "Percent",
            "Percent of precipitation on days above the reference, the 95th percentile",
            Rule::WetShare
        ),
        plain!(
            "eca_r99p",
            2,
            "extremely_wet_days_wrt_99th_percentile_of_reference_period",
            "Percent",
            "Percent of wet days above the reference, the 99th percentile",
            Rule::WetPercent
        ),
        plain!(
            "eca_r99ptot",
            2,
            "precipitation_percent_due_to_R99p_days",
            "",
            "Percent of precipitation on days above the reference, the 99th percentile",
            Rule::WetShare
        ),
        Row {
            name: "eca_hd",
            summary: "Heating degree days",
            usage: "[t1[,t2]]",
            defaults: &[17.0, 17.0],
            grouping: Grouping::All,
            takes_frequency: false,
            inputs: 1,
            make: |p| {
                let rule = Rule::Deficit(ZERO + p[0], ZERO + p[1]);
                vec![output(
                    "heating_degree_days_per_time_period",
                    "Sum of what days below a temperature lack",
                    "No.",
                    rule,
                )]
            },
        },
        Row {
            name: "eca_sdii",
            summary: "Mean precipitation of wet days, by default of at least 1 mm",
            usage: "[r]",
            defaults: &[1.0],
            grouping: Grouping::All,
            takes_frequency: false,
            inputs: 1,
            make: |p| {
                vec![output(
                    "simple_daily_intensity_index_per_time_period",
                    "Mean precipitation of wet days",
                    "mm",
                    Rule::MeanOf(Test::AtLeast(p[0])),
                )]
            },
        },
        Row {
            name: "eca_rx5day",
            summary: "Most precipitation of five days, and how often it was more than 50 mm",
            usage: "[x]",
            defaults: &[50.0],
            grouping: Grouping::All,
            takes_frequency: false,
            inputs: 1,
            make: |p| {
                vec![
                    output(
                        "highest_five_day_precipitation_amount_per_time_period",
                        "Most precipitation of five days",
                        "mm per 5 day",
                        Rule::Maximum,
                    ),
                    output(
                        "number_of_5day_heavy_precipitation_periods_per_time_period",
                        "Five-day sums of more than the limit",
                        "No.",
                        Rule::Count(Test::Above(p[0])),
                    ),
                ]
            },
        },
    ]
}
