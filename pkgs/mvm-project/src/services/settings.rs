//! What a project sets of a service.

use super::mapping::{Mapping, Port, PortSetting};
use crate::project::Datum;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The settings of a service. Asking for one that is not known leaves a remark, so that no default is taken in silence.
pub struct Settings<'a> {
    mapping: &'static Mapping,
    set: Option<&'a BTreeMap<String, Datum>>,
    remarks: RefCell<Vec<String>>,
}

impl<'a> Settings<'a> {
    /// What is set of a service.
    pub fn new(mapping: &'static Mapping, set: &'a BTreeMap<String, Datum>) -> Self {
        Self { mapping, set: Some(set), remarks: RefCell::default() }
    }

    /// Nothing is set.
    pub fn defaults(mapping: &'static Mapping) -> Self {
        Self { mapping, set: None, remarks: RefCell::default() }
    }

    /// What was asked for and not known.
    pub fn remarks(&self) -> Vec<String> {
        self.remarks.borrow().clone()
    }

    fn remark(&self, path: &[&str], why: &str) {
        let text = format!("services.{}.{} is not known: {why}", self.mapping.name, path.join("."));
        if !self.remarks.borrow().contains(&text) {
            self.remarks.borrow_mut().push(text);
        }
    }

    /// The value at a path, if it is set and known.
    pub fn get(&self, path: &[&str]) -> Option<&'a Datum> {
        let (first, rest) = path.split_first()?;
        let datum = self.set?.get(*first)?.at(rest)?;
        match datum {
            Datum::Unknown { unknown } => {
                self.remark(path, unknown);
                None
            }
            datum => Some(datum),
        }
    }

    /// The string at a path.
    pub fn text(&self, path: &[&str]) -> Option<String> {
        match self.get(path)? {
            Datum::Text(template) => template.plain().or_else(|| {
                self.remark(path, template.unknown().unwrap_or("it contains the path of a package"));
                None
            }),
            Datum::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The boolean at a path.
    pub fn bool(&self, path: &[&str]) -> Option<bool> {
        match self.get(path)? {
            Datum::Bool(bool) => Some(*bool),
            _ => None,
        }
    }

    /// The elements of the list at a path.
    pub fn list(&self, path: &[&str]) -> Vec<&'a Datum> {
        let Some(Datum::List(items)) = self.get(path) else { return Vec::new() };
        let known = |item: &&Datum| match item {
            Datum::Unknown { unknown } => {
                self.remark(path, unknown);
                false
            }
            _ => true,
        };
        items.iter().filter(known).collect()
    }

    /// The strings in the list at a path.
    pub fn texts(&self, path: &[&str]) -> Vec<String> {
        self.list(path).into_iter().filter_map(Datum::plain).collect()
    }

    /// The entries of the set at a path.
    pub fn entries(&self, path: &[&str]) -> Vec<(&'a str, &'a Datum)> {
        match self.get(path) {
            Some(Datum::Set(set)) => set.iter().map(|(name, datum)| (name.as_str(), datum)).collect(),
            _ => Vec::new(),
        }
    }

    /// The service's ports by label; those that are not known are missing, and said.
    pub fn ports(&self) -> BTreeMap<&'static str, u16> {
        self.mapping.ports.iter().filter_map(|port| Some((port.label, self.port_of(port)?))).collect()
    }

    /// The port `label`; devenv's default if it is not known, which [`Settings::ports`] then doesn't have.
    pub fn port(&self, label: &str) -> u16 {
        let port = self.mapping.ports.iter().find(|port| port.label == label);
        port.map_or(0, |port| self.port_of(port).unwrap_or(port.default))
    }

    fn port_of(&self, port: &Port) -> Option<u16> {
        let (path, number) = match port.setting {
            PortSetting::Fixed => return Some(port.default),
            PortSetting::Found(find) => return Some(find(self).unwrap_or(port.default)),
            PortSetting::Number(path) | PortSetting::Address(path) => (path, self.raw(path)),
        };
        let datum = match number {
            None => return Some(port.default),
            Some(Datum::Unknown { unknown }) => {
                self.remark(path, unknown);
                return None;
            }
            Some(datum) => datum,
        };
        let number = match datum {
            Datum::Int(number) => u16::try_from(*number).ok(),
            Datum::Null => Some(port.default),
            other => other.plain().and_then(|text| text.rsplit(':').next()?.parse().ok()),
        };
        if number.is_none() {
            self.remark(path, "it is no port");
        }
        number
    }

    fn raw(&self, path: &[&str]) -> Option<&'a Datum> {
        let (first, rest) = path.split_first()?;
        self.set?.get(*first)?.at(rest)
    }
}
