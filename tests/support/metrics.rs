//! Values out of the text that `/metrics` answers.

/// The sum of all series of a metric that carry all of these labels; `None` if there is none.
pub(crate) fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, number)) = line.rsplit_once(' ') else { continue };
        let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
        let carries = |(key, wanted): &(&str, &str)| {
            let label = format!("{key}=\"{wanted}\"");
            series_labels.trim_end_matches('}').split(',').any(|given| given == label)
        };
        if series_name == name && labels.iter().all(carries) {
            let number: f64 = number.parse().expect("a metric's value is a number");
            *sum.get_or_insert(0.0) += number;
        }
    }
    sum
}
