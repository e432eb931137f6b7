//! Dates, date-times and times as FHIRPath has them: known to a year, a day or a fraction of a
//! second, with a time zone or without.

use std::cmp::Ordering;
use std::fmt;

use chrono::{
    DateTime, Datelike as _, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta,
    Timelike as _, Utc,
};

use super::calendar::CalendarUnit;

/// How far a value is known. Seconds and their fraction are one precision, as FHIRPath has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// `2024`
    Year,
    /// `2024-03`
    Month,
    /// `2024-03-01`
    Day,
    /// `…T10`
    Hour,
    /// `…T10:30`
    Minute,
    /// `…T10:30:00`, with a fraction or without.
    Second,
}

/// A date, date-time or time; which of them, the [`Item`](crate::transform::fhirpath::Item) says. What its precision
/// leaves open is the lowest value there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporal {
    local: NaiveDateTime,
    precision: Precision,
    fraction_digits: u8,
    offset_minutes: Option<i16>,
}

/// The date a time of day is kept with; it is never seen.
const NO_DATE: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a day that was");

impl Temporal {
    /// How far it is known.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Its value on the clock it was written by; what the precision leaves open is lowest.
    #[must_use]
    pub const fn local(&self) -> NaiveDateTime {
        self.local
    }

    /// Its time zone, minutes east of Greenwich.
    #[must_use]
    pub const fn offset_minutes(&self) -> Option<i16> {
        self.offset_minutes
    }

    /// How many digits of its second's fraction are known.
    pub(in crate::transform::fhirpath) const fn fraction_digits(&self) -> u8 {
        self.fraction_digits
    }

    /// A point in time, to the millisecond, as clocks in Greenwich show it.
    pub(in crate::transform::fhirpath) fn of_instant(instant: DateTime<Utc>) -> Self {
        let local = instant.naive_utc();
        let known = local.with_nanosecond(local.nanosecond() / 1_000_000 * 1_000_000);
        Self {
            local: known.unwrap_or(local),
            precision: Precision::Second,
            fraction_digits: 3,
            offset_minutes: Some(0),
        }
    }

    /// A clock's value, known as far as is said; what is not known must be the lowest there is.
    /// Without a time of day there is no time zone.
    pub(in crate::transform::fhirpath) fn of_parts(
        local: NaiveDateTime,
        precision: Precision,
        fraction_digits: u8,
        offset_minutes: Option<i16>,
    ) -> Self {
        let offset_minutes = offset_minutes.filter(|_| precision >= Precision::Hour);
        Self { local, precision, fraction_digits, offset_minutes }
    }

    /// `2024`, `2024-03`, `2024-03-01`.
    pub(in crate::transform::fhirpath) fn parse_date(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let year = digits(parts.next()?, 4)?;
        let month = parts.next().map(|part| digits(part, 2));
        let day = parts.next().map(|part| digits(part, 2));
        let precision = match (month, day) {
            (None, _) => Precision::Year,
            (Some(_), None) => Precision::Month,
            (Some(_), Some(_)) => Precision::Day,
        };
        let date = NaiveDate::from_ymd_opt(
            i32::try_from(year).ok()?,
            month.unwrap_or(Some(1))?,
            day.unwrap_or(Some(1))?,
        )?;
        Some(Self {
            local: date.and_time(NaiveTime::MIN),
            precision,
            fraction_digits: 0,
            offset_minutes: None,
        })
    }

    /// A date, or `2024-03-01T10:30:00.5+01:00` with the time down to any precision. Of a literal
    /// the `T` may end it (`2024T`).
    pub(in crate::transform::fhirpath) fn parse_date_time(text: &str) -> Option<Self> {
        let Some((date, time)) = text.split_once('T') else { return Self::parse_date(text) };
        let date = Self::parse_date(date)?;
        if time.is_empty() {
            return Some(date);
        }
        if date.precision != Precision::Day {
            return None;
        }
        let (time, offset_minutes) = split_offset(time)?;
        let time = Self::parse_time(time)?;
        Some(Self { local: date.local.date().and_time(time.local.time()), offset_minutes, ..time })
    }

    /// `10`, `10:30`, `10:30:00`, `10:30:00.5`.
    pub(in crate::transform::fhirpath) fn parse_time(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let hour = digits(parts.next()?, 2)?;
        let minute = parts.next().map(|part| digits(part, 2));
        let second = parts.next();
        let (whole, fraction) = match second {
            Some(second) => second.split_once('.').map_or((second, None), |(s, f)| (s, Some(f))),
            None => ("00", None),
        };
        let nanos = match fraction {
            None => 0,
            Some(fraction) if !fraction.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some("") => return None,
            Some(fraction) => format!("{fraction:0<9}").get(..9)?.parse().ok()?,
        };
        let precision = match (minute, second) {
            (None, _) => Precision::Hour,
            (Some(_), None) => Precision::Minute,
            (Some(_), Some(_)) => Precision::Second,
        };
        // A leap second is kept as the last second of its minute.
        let second = digits(whole, 2)?;
        let second = if second == 60 { 59 } else { second };
        let time = NaiveTime::from_hms_nano_opt(hour, minute.unwrap_or(Some(0))?, second, nanos)?;
        Some(Self {
            local: NO_DATE.and_time(time),
            precision,
            fraction_digits: u8::try_from(fraction.map_or(0, str::len).min(9)).unwrap_or(9),
            offset_minutes: None,
        })
    }

    /// Which is earlier; `None` where the precision of one, or a time zone that only one has,
    /// leaves it open.
    pub(in crate::transform::fhirpath) fn compare(&self, other: &Self) -> Option<Ordering> {
        /// No clock is further from Greenwich than this.
        const WIDEST_OFFSET: TimeDelta = TimeDelta::hours(14);
        let (left, right) = match (self.offset_minutes, other.offset_minutes) {
            (Some(_), Some(_)) => (self.utc(), other.utc()),
            (None, None) => (self.local, other.local),
            _ if self.precision < Precision::Hour || other.precision < Precision::Hour => {
                (self.local, other.local)
            }
            _ => {
                let difference = self.utc() - other.utc();
                let certain = difference.abs() > WIDEST_OFFSET;
                return certain.then(|| difference.cmp(&TimeDelta::zero()));
            }
        };
        let shared = self.precision.min(other.precision);
        match truncated(left, shared).cmp(&truncated(right, shared)) {
            Ordering::Equal if self.precision != other.precision => None,
            ordering => Some(ordering),
        }
    }

    fn utc(&self) -> NaiveDateTime {
        let offset = TimeDelta::minutes(self.offset_minutes.unwrap_or(0).into());
        self.local.checked_sub_signed(offset).unwrap_or(self.local)
    }

    /// The value so many units later, or earlier if negative; what is finer than the precision
    /// is dropped. `None` beyond the calendar.
    pub(in crate::transform::fhirpath) fn plus(
        &self,
        milli_amount: i64,
        unit: CalendarUnit,
    ) -> Option<Self> {
        let amount = milli_amount / 1000;
        let months = match (unit, self.precision) {
            (CalendarUnit::Year, _) => Some(amount.checked_mul(12)?),
            (CalendarUnit::Month, Precision::Year) => Some(amount / 12 * 12),
            (CalendarUnit::Month, _) => Some(amount),
            _ => None,
        };
        let local = if let Some(months) = months {
            let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
            if months < 0 {
                self.local.checked_sub_months(count)?
            } else {
                self.local.checked_add_months(count)?
            }
        } else {
            let millis = match unit {
                CalendarUnit::Week => amount.checked_mul(7 * 86_400_000)?,
                CalendarUnit::Day => amount.checked_mul(86_400_000)?,
                CalendarUnit::Hour => amount.checked_mul(3_600_000)?,
                CalendarUnit::Minute => amount.checked_mul(60_000)?,
                CalendarUnit::Second => milli_amount,
                _ => amount,
            };
            self.plus_millis(millis)?
        };
        (1..=9999).contains(&local.year()).then_some(Self { local, ..*self })
    }

    /// FHIRPath counts a year as 365 days and a month as 30 where a partial date is moved by a
    /// finer unit.
    fn plus_millis(&self, millis: i64) -> Option<NaiveDateTime> {
        let days = millis / 86_400_000;
        let add_months = |months: i64| {
            let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
            if months < 0 {
                self.local.checked_sub_months(count)
            } else {
                self.local.checked_add_months(count)
            }
        };
        match self.precision {
            Precision::Year => add_months(days / 365 * 12),
            Precision::Month => add_months(days / 30),
            Precision::Day if days < 0 => {
                self.local.checked_sub_days(Days::new(days.unsigned_abs()))
            }
            Precision::Day => self.local.checked_add_days(Days::new(days.unsigned_abs())),
            Precision::Hour => {
                self.local.checked_add_signed(TimeDelta::try_hours(millis / 3_600_000)?)
            }
            Precision::Minute => {
                self.local.checked_add_signed(TimeDelta::try_minutes(millis / 60_000)?)
            }
            Precision::Second => {
                self.local.checked_add_signed(TimeDelta::try_milliseconds(millis)?)
            }
        }
    }

    /// A time of day that was moved past midnight.
    pub(in crate::transform::fhirpath) fn of_day(self) -> Self {
        Self { local: NO_DATE.and_time(self.local.time()), ..self }
    }

    /// The time of a date-time.
    pub(in crate::transform::fhirpath) fn to_time(self) -> Self {
        Self { offset_minutes: None, ..self.of_day() }
    }

    /// The date of a date-time.
    pub(in crate::transform::fhirpath) fn to_date(self) -> Self {
        Self {
            local: self.local.date().and_time(NaiveTime::MIN),
            precision: self.precision.min(Precision::Day),
            fraction_digits: 0,
            offset_minutes: None,
        }
    }

    /// As a time of day is written, without the `T`.
    pub(in crate::transform::fhirpath) fn display_time(&self) -> String {
        let clock = self.local.time();
        match (self.precision, self.fraction_digits) {
            (Precision::Minute, _) => clock.format("%H:%M").to_string(),
            (Precision::Second, 0) => clock.format("%H:%M:%S").to_string(),
            (Precision::Second, digits) => {
                let mut text = clock.format("%H:%M:%S.%f").to_string();
                text.truncate("00:00:00.".len() + usize::from(digits));
                text
            }
            _ => clock.format("%H").to_string(),
        }
    }
}

/// As a date or date-time is written.
impl fmt::Display for Temporal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.local.year())?;
        if self.precision >= Precision::Month {
            write!(f, "-{:02}", self.local.month())?;
        }
        if self.precision >= Precision::Day {
            write!(f, "-{:02}", self.local.day())?;
        }
        if self.precision >= Precision::Hour {
            write!(f, "T{}", self.display_time())?;
        }
        match self.offset_minutes {
            None => Ok(()),
            Some(0) => f.write_str("Z"),
            Some(minutes) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                let minutes = minutes.unsigned_abs();
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

fn digits(text: &str, length: usize) -> Option<u32> {
    let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn split_offset(text: &str) -> Option<(&str, Option<i16>)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, Some(0)));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, None)) };
    let (time, offset) = text.split_at(at);
    let (sign, clock) = offset.split_at(1);
    let (hours, minutes) = clock.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if hours > 14 || minutes > 59 {
        return None;
    }
    let total = i16::try_from(hours * 60 + minutes).ok()?;
    Some((time, Some(if sign == "-" { -total } else { total })))
}

fn truncated(value: NaiveDateTime, precision: Precision) -> (i32, u32, u32, u32, u32, u32, u32) {
    let known = |at: Precision, part: u32| if precision >= at { part } else { 0 };
    (
        value.year(),
        known(Precision::Month, value.month()),
        known(Precision::Day, value.day()),
        known(Precision::Hour, value.hour()),
        known(Precision::Minute, value.minute()),
        known(Precision::Second, value.second()),
        known(Precision::Second, value.nanosecond()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date_time(text: &str) -> Temporal {
        Temporal::parse_date_time(text).expect("valid")
    }

    #[test]
    fn values_of_different_precision_are_not_comparable_once_they_agree_that_far() {
        assert_eq!(date_time("2018-03").compare(&date_time("2018-03-01")), None);
        assert_eq!(date_time("2018-03").compare(&date_time("2018-04-01")), Some(Ordering::Less));
    }

    #[test]
    fn time_zones_count_only_as_far_as_both_values_have_one() {
        let zoned = date_time("2017-11-05T01:30:00-04:00");
        assert_eq!(zoned.compare(&date_time("2017-11-05T00:30:00-05:00")), Some(Ordering::Equal));
        assert_eq!(zoned.compare(&date_time("2017-11-05T01:30:00")), None);
        assert_eq!(zoned.compare(&date_time("2019-11-05T01:30:00")), Some(Ordering::Less));
    }

    #[test]
    fn what_was_read_is_written_again_with_its_precision() {
        for text in ["2015", "2015-02", "2015-02-04", "2015-02-04T14:34:28.120+10:00"] {
            assert_eq!(date_time(text).to_string(), text);
        }
    }

    #[test]
    fn days_that_are_not_in_the_calendar_are_no_dates() {
        assert!(Temporal::parse_date("2023-02-29").is_none());
        assert!(Temporal::parse_date_time("2024-02-29T25:00").is_none());
        assert!(Temporal::parse_date("2024-2-9").is_none());
    }
}
