//! Bar charts, as SVG that is readable on light and dark pages.

use fanfare::bench::number;
use std::fmt::Write as _;

pub struct Bar {
    pub name: String,
    pub value: f64,
    pub is_ours: bool,
}

const WIDTH: f64 = 760.0;
const NAME_WIDTH: f64 = 130.0;
const VALUE_WIDTH: f64 = 110.0;
const BAR_HEIGHT: f64 = 26.0;
const ROW_HEIGHT: f64 = 38.0;
const TOP_MARGIN: f64 = 44.0;

/// Returns horizontal bars from zero, with their values as text.
pub fn chart(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP_MARGIN + ROW_HEIGHT * bars.len() as f64 + 6.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\" font-family=\"system-ui, sans-serif\" font-size=\"14\">\n\
         <style>text {{ fill: #24292f }} .ours {{ fill: #c2410c }} .theirs {{ fill: #8c959f }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} .ours {{ fill: #fb923c }} \
         .theirs {{ fill: #6e7681 }} }}</style>\n\
         <text x=\"0\" y=\"20\" font-size=\"15\" font-weight=\"600\">{title}</text>\n"
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP_MARGIN + ROW_HEIGHT * index as f64;
        let text_y = y + BAR_HEIGHT / 2.0 + 5.0;
        let length = ((WIDTH - NAME_WIDTH - VALUE_WIDTH) * bar.value / longest).max(1.0);
        let class = if bar.is_ours { "ours" } else { "theirs" };
        let value = number(bar.value, if bar.value < 100.0 { 1 } else { 0 });
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{text_y:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{NAME_WIDTH}\" y=\"{y:.0}\" width=\"{length:.1}\" \
             height=\"{BAR_HEIGHT}\" rx=\"3\"/><text x=\"{:.1}\" y=\"{text_y:.0}\">{value}</text>",
            NAME_WIDTH - 10.0,
            bar.name,
            NAME_WIDTH + length + 8.0
        );
    }
    out.push_str("</svg>\n");
    out
}
