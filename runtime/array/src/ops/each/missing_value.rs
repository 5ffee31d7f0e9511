//! The value that marks missing ones in the file.

use crate::cube::Cube;
use crate::dataset::AttrValue;
use crate::ops::cellwise::Binary;

/// `setmissval`: marks missing values by another value. What has that value already is missing
/// from now on.
pub(super) fn set(mut cube: Cube, value: f64) -> Cube {
    for index in cube.dataset.data_variables() {
        // The plan gives them the type of the data.
        let attributes = &mut cube.dataset.variables[index].attributes;
        if attributes.get("missing_value").is_some() {
            attributes.set("missing_value", AttrValue::from(value));
        }
        attributes.set("_FillValue", AttrValue::from(value));
    }
    super::compare(cube, &[value], |builder, x, constants| {
        let missing = builder.constant(f64::NAN);
        let is_marker = builder.binary(Binary::Equal, x, constants[0]);
        builder.choose(is_marker, missing, x)
    })
}
