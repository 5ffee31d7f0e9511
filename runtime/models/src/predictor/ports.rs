//! What a model takes and gives by name, as its header and climatology tell.

use super::{Group, Predictor};
use crate::header::Sample;

pub(super) const MONTH: &str = "month";
pub(super) const TARGET_MONTH: &str = "forecast_month";
pub(super) const CELL: &str = "cell";

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The variable, or what else is needed.
    pub name: String,
    /// Of the file; nothing for counts.
    pub units: String,
    /// What its numbers are.
    pub role: Role,
    /// The first dimension is the sample; `None` where a length is free.
    pub shape: Vec<Option<usize>>,
}

/// What the numbers of an input or output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Those of a variable, or of an array.
    Values,
    /// [`Samples::months`](super::Samples::months).
    Months,
    /// [`Samples::target_months`](super::Samples::target_months).
    TargetMonths,
    /// [`Samples::places`](super::Samples::places).
    Places,
}

impl Role {
    /// What an input of this name is that holds counts; `None` if there is none such.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            MONTH => Some(Self::Months),
            TARGET_MONTH => Some(Self::TargetMonths),
            CELL => Some(Self::Places),
            _ => None,
        }
    }
}

impl Predictor {
    /// What it takes: the variables `(sample, step, level, row, column)` or `(sample, step, level)`,
    /// without the level where there is one alone; then months and cells, if the model has a
    /// climatology.
    #[must_use]
    pub fn inputs(&self) -> Vec<Port> {
        let history = Some(self.header.history);
        let values = self.inputs.iter().map(|group| match &self.header.arrays {
            Some(shapes) => of_array(group, &shapes.input),
            None => self.of_variable(group, vec![None, history]),
        });
        let mut ports: Vec<Port> = values.collect();
        let count = |name: &str, role, shape| Port {
            name: name.to_owned(),
            units: String::new(),
            role,
            shape,
        };
        if !self.climatology.is_empty() {
            ports.push(count(MONTH, Role::Months, vec![None, history]));
            ports.push(count(TARGET_MONTH, Role::TargetMonths, vec![None]));
            if self.header.sample == Sample::Cell {
                ports.push(count(CELL, Role::Places, vec![None]));
            }
        }
        ports
    }

    /// What it gives, alike but without steps.
    #[must_use]
    pub fn outputs(&self) -> Vec<Port> {
        let port = |group: &Group| match &self.header.arrays {
            Some(shapes) => of_array(group, &shapes.output),
            None => self.of_variable(group, vec![None]),
        };
        self.outputs.iter().map(port).collect()
    }

    fn of_variable(&self, group: &Group, mut shape: Vec<Option<usize>>) -> Port {
        let levels = group.channels.len();
        shape.extend((levels > 1).then_some(Some(levels)));
        if self.header.sample == Sample::Field {
            shape.extend([None, None]);
        }
        Port {
            name: group.name.clone(),
            units: group.channels[0].units.clone(),
            role: Role::Values,
            shape,
        }
    }
}

fn of_array(group: &Group, shape: &[usize]) -> Port {
    let lengths = shape.iter().map(|len| Some(*len));
    Port {
        name: group.name.clone(),
        units: String::new(),
        role: Role::Values,
        shape: std::iter::once(None).chain(lengths).collect(),
    }
}
