//! Stored numbers as values, in every form.

use super::*;

fn attributes(pairs: &[(&str, AttrValue)]) -> Attributes {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn shorts(values: &[i16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

#[test]
fn stored_values_are_compared_before_they_are_scaled() {
    let packed = attributes(&[
        ("_FillValue", AttrValue::I16(vec![-1])),
        ("missing_value", AttrValue::I16(vec![7])),
        ("valid_max", AttrValue::I16(vec![100])),
        ("scale_factor", AttrValue::F64(vec![0.5])),
        ("add_offset", AttrValue::F64(vec![1.0])),
    ]);
    let conversion = Conversion::new(DType::I16, &packed, true);
    let mut out = [0.0_f64; 5];
    conversion.run(&shorts(&[-1, 7, 101, 100, -2]), &mut out);
    assert!(out[..3].iter().all(|value| value.is_nan()));
    assert_eq!(out[3..], [51.0, 0.0]);
    assert!(!conversion.is_f32());
}

#[test]
fn a_fill_value_of_another_type_is_compared_in_the_stored_one() {
    let float = attributes(&[("_FillValue", AttrValue::F64(vec![1e20]))]);
    let conversion = Conversion::new(DType::F32, &float, false);
    let bytes: Vec<u8> = [1e20_f32, 2.5, f32::NAN]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut out = [0.0_f32; 3];
    conversion.run(&bytes, &mut out);
    assert!(out[0].is_nan() && out[1] == 2.5 && out[2].is_nan());
    assert!(conversion.is_f32());
}

#[test]
fn unsigned_bytes_may_be_declared_by_an_attribute() {
    let bytes = attributes(&[
        ("_Unsigned", AttrValue::from("true")),
        ("_FillValue", AttrValue::I8(vec![-1])),
    ]);
    let conversion = Conversion::new(DType::I8, &bytes, false);
    let mut out = [0.0_f64; 2];
    conversion.run(&[254, 255], &mut out);
    assert_eq!(out[0], 254.0);
    assert!(out[1].is_nan());
}

#[test]
fn without_a_fill_value_the_default_one_is_missing_except_for_bytes() {
    let mut out = [0.0_f64];
    let none = Attributes::default();
    Conversion::new(DType::I16, &none, true).run(&shorts(&[-32_767]), &mut out);
    assert!(out[0].is_nan());
    Conversion::new(DType::I8, &none, true).run(&[129], &mut out);
    assert_eq!(out[0], -127.0);
}
