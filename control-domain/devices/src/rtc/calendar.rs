//! Seconds since 1970 to the fields of a clock and back, in the Gregorian calendar.

/// A point in time, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

const DAYS_IN_400_YEARS: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

impl Time {
    /// Years beyond 9999 wrap: a clock of this kind has four digits.
    pub fn from_unix(seconds: u64) -> Self {
        // Years that begin in March put the leap day last, so months have fixed offsets.
        let days = seconds / 86_400 + DAYS_TO_1970;
        let day_of_era = days % DAYS_IN_400_YEARS;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let year = days / DAYS_IN_400_YEARS * 400 + year_of_era + u64::from(month >= 10);
        Time {
            year: (year % 10_000) as u16,
            month: (if month < 10 { month + 3 } else { month - 9 }) as u8,
            day: (day_of_year - (153 * month + 2) / 5 + 1) as u8,
            hour: (seconds / 3600 % 24) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
        }
    }

    /// Fields out of range carry over or clamp; times before 1970 become 1970.
    pub fn to_unix(self) -> u64 {
        let month = u64::from(self.month.clamp(1, 12));
        let year = u64::from(self.year) - u64::from(month <= 2 && self.year > 0);
        let month = (month + 9) % 12;
        let days = year * 365 + year / 4 - year / 100
            + year / 400
            + (153 * month + 2) / 5
            + u64::from(self.day.max(1) - 1);
        let of_day =
            u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second);
        days.saturating_sub(DAYS_TO_1970) * 86_400 + of_day
    }

    /// 1 = Sunday.
    pub fn weekday(self) -> u8 {
        ((self.to_unix() / 86_400 + 4) % 7 + 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let time = Time::from_unix(951_827_696);
        assert_eq!(
            time,
            Time {
                year: 2000,
                month: 2,
                day: 29,
                hour: 12,
                minute: 34,
                second: 56
            }
        );
        assert_eq!(time.weekday(), 3, "a Tuesday");
        assert_eq!(Time::from_unix(0).weekday(), 5, "a Thursday");
        assert_eq!(Time::from_unix(4_102_444_800).year, 2100);
    }

    #[test]
    fn round_trip() {
        for seconds in (0..250_000_000_000).step_by(86_400 * 13 + 12_345) {
            assert_eq!(Time::from_unix(seconds).to_unix(), seconds);
        }
    }
}
