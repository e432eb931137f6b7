//! The units that dates and times are moved by.

use bigdecimal::BigDecimal;

/// What is added to a date or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform::fhirpath) enum CalendarUnit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl CalendarUnit {
    const ALL: [Self; 8] = [
        Self::Year,
        Self::Month,
        Self::Week,
        Self::Day,
        Self::Hour,
        Self::Minute,
        Self::Second,
        Self::Millisecond,
    ];

    /// In the singular or the plural: `year`, `years`.
    pub(in crate::transform::fhirpath) fn named(word: &str) -> Option<Self> {
        let singular = word.strip_suffix('s').unwrap_or(word);
        Self::ALL.into_iter().find(|unit| unit.name() == singular)
    }

    /// The unit that UCUM has for it, or nearly so: `a` is a year of 365.25 days.
    pub(in crate::transform::fhirpath) fn of_ucum(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.ucum() == code)
    }

    /// In the singular.
    pub(in crate::transform::fhirpath) const fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Millisecond => "millisecond",
        }
    }

    pub(in crate::transform::fhirpath) const fn ucum(self) -> &'static str {
        match self {
            Self::Year => "a",
            Self::Month => "mo",
            Self::Week => "wk",
            Self::Day => "d",
            Self::Hour => "h",
            Self::Minute => "min",
            Self::Second => "s",
            Self::Millisecond => "ms",
        }
    }

    /// Does it move a time of day?
    pub(in crate::transform::fhirpath) const fn is_of_day(self) -> bool {
        matches!(self, Self::Hour | Self::Minute | Self::Second | Self::Millisecond)
    }

    /// How long it lasts; `None` if that depends on the year.
    pub(in crate::transform::fhirpath) fn seconds(self) -> Option<BigDecimal> {
        Some(match self {
            Self::Year | Self::Month => return None,
            Self::Week => BigDecimal::from(7 * 86_400),
            Self::Day => BigDecimal::from(86_400),
            Self::Hour => BigDecimal::from(3_600),
            Self::Minute => BigDecimal::from(60),
            Self::Second => BigDecimal::from(1),
            Self::Millisecond => BigDecimal::new(1.into(), 3),
        })
    }

    /// How long FHIRPath takes it to last when it is compared with another: a month has 30 days,
    /// and a year has 12 months if it is compared with months, else 365 days.
    pub(in crate::transform::fhirpath) fn usual_seconds(self, other: Option<Self>) -> BigDecimal {
        let days = match self {
            Self::Month => 30,
            Self::Year if matches!(other, Some(Self::Month)) => 12 * 30,
            Self::Year => 365,
            lasting => return lasting.seconds().unwrap_or_default(),
        };
        BigDecimal::from(days * 86_400)
    }
}
