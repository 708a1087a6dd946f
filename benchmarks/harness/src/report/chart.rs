//! Charts as inline SVG: axes, lines with their intervals, hollow marks for published values.
//!
//! Colours are classes that the page's style sheet resolves, so a chart follows light and dark; every series also has a
//! mark of its own shape, so that no colour need be told apart. Knows nothing of results.

use std::fmt::Write as _;

/// Size of the drawing in its own units; the page scales it to its column.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 340.0;
/// Room for axis labels.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// A chart.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// Read out by screen readers.
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// One axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) is_log: bool,
    /// Where ticks stand, and what they say; empty: powers of ten, or quarters.
    pub(super) ticks: Vec<(f64, String)>,
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// What the legend calls it.
    pub(super) name: String,
    /// Class of its colour.
    pub(super) class: String,
    /// Number of its mark.
    pub(super) mark: usize,
    pub(super) points: Vec<Point>,
    pub(super) kind: Kind,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line with a mark at each point.
    Line,
    /// A line without marks.
    Curve,
    /// Dashed, with marks.
    Dashed,
    /// Hollow marks alone: published values.
    Hollow,
}

/// One value, with its 95 % interval if it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) interval: Option<(f64, f64)>,
}

impl Point {
    /// A value without an interval.
    pub(super) const fn new(x: f64, y: f64) -> Self {
        Self { x, y, interval: None }
    }
}

impl Axis {
    /// An axis of powers of ten.
    pub(super) fn log(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            is_log: true,
            ticks: Vec::new(),
        }
    }
}

/// A scale from values to drawing units.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let usable = values.filter(|value| value.is_finite() && (!axis.is_log || *value > 0.0));
        let (mut low, mut high) = usable.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return None;
        }
        if axis.is_log {
            (low, high) = (low / 1.25, high * 1.25);
        } else {
            low = low.min(0.0);
            high = if high > low { high } else { low + 1.0 };
        }
        Some(Self {
            low,
            high,
            from,
            to,
            is_log: axis.is_log,
        })
    }

    fn at(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self, axis: &Axis) -> Vec<(f64, String)> {
        if !axis.ticks.is_empty() {
            let in_range = |(value, _): &&(f64, String)| (self.low..=self.high).contains(value);
            return axis.ticks.iter().filter(in_range).cloned().collect();
        }
        if !self.is_log {
            return (0..=4)
                .map(|n| f64::from(n) / 4.0 * (self.high - self.low) + self.low)
                .map(|v| (v, short(v)))
                .collect();
        }
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades < 2.2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        let mut power = 10_f64.powf(self.low.log10().floor());
        while power <= self.high {
            let each = steps.iter().map(|step| power * step);
            ticks.extend(
                each.filter(|value| (self.low..=self.high).contains(value))
                    .map(|value| (value, short(value))),
            );
            power *= 10.0;
        }
        ticks
    }
}

impl Chart {
    /// The drawing, or nothing if there is no point to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Scale::new(&self.x, points().map(|point| point.x), LEFT, WIDTH - RIGHT)?;
        let ys = points().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        let y = Scale::new(&self.y, ys, HEIGHT - BOTTOM, TOP)?;
        let mut svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><title>{}</title>",
            escape(&self.title),
            escape(&self.title)
        );
        self.axes(&mut svg, &x, &y);
        for series in &self.series {
            series.draw(&mut svg, &x, &y);
        }
        svg.push_str("</svg>");
        Some(svg)
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        for (value, text) in y.ticks(&self.y) {
            let at = y.at(value);
            line(svg, "grid", (LEFT, at), (WIDTH - RIGHT, at));
            label(svg, "tick end", LEFT - 6.0, at + 4.0, &text);
        }
        for (value, text) in x.ticks(&self.x) {
            let at = x.at(value);
            line(svg, "grid", (at, TOP), (at, HEIGHT - BOTTOM));
            label(svg, "tick middle", at, HEIGHT - BOTTOM + 17.0, &text);
        }
        line(svg, "axis", (LEFT, TOP), (LEFT, HEIGHT - BOTTOM));
        line(svg, "axis", (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM));
        label(
            svg,
            "name middle",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 8.0,
            &axis_name(&self.x),
        );
        let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
        let _ = write!(
            svg,
            "<text class=\"name middle\" transform=\"translate(13 {middle:.1}) rotate(-90)\">{}</text>",
            escape(&axis_name(&self.y))
        );
    }
}

fn axis_name(axis: &Axis) -> String {
    if axis.is_log {
        format!("{} (log)", axis.label)
    } else {
        axis.label.clone()
    }
}

impl Series {
    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let _ = write!(svg, "<g class=\"series {}\">", self.class);
        let at = |point: &Point| (x.at(point.x), y.at(point.y));
        if self.kind != Kind::Hollow && self.points.len() > 1 {
            let dashes = if self.kind == Kind::Dashed { " dashed" } else { "" };
            let _ = write!(svg, "<polyline class=\"line{dashes}\" points=\"");
            for point in &self.points {
                let (px, py) = at(point);
                let _ = write!(svg, "{px:.1},{py:.1} ");
            }
            svg.push_str("\"/>");
        }
        for point in &self.points {
            let (px, py) = at(point);
            if let Some((low, high)) = point.interval {
                line(svg, "interval", (px, y.at(low)), (px, y.at(high)));
            }
            if self.kind != Kind::Curve {
                let hollow = self.kind == Kind::Hollow;
                let _ = write!(
                    svg,
                    "<path class=\"{}\" d=\"{}\"><title>{}: {}</title></path>",
                    if hollow { "mark hollow" } else { "mark" },
                    mark(self.mark, px, py, if hollow { 6.0 } else { 4.0 }),
                    escape(&self.name),
                    short(point.y)
                );
            }
        }
        svg.push_str("</g>");
    }
}

/// A small drawing of a series' mark, for the legend.
pub(super) fn swatch(class: &str, number: usize) -> String {
    let path = mark(number, 11.0, 7.0, 4.5);
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 22 14\" aria-hidden=\"true\"><g class=\"series {class}\">\
         <polyline class=\"line\" points=\"1,7 21,7\"/><path class=\"mark\" d=\"{path}\"/></g></svg>"
    )
}

/// The outline of one of nine marks around a point.
fn mark(number: usize, x: f64, y: f64, r: f64) -> String {
    let polygon = |corners: &[(f64, f64)]| {
        let mut path = String::new();
        for (number, (dx, dy)) in corners.iter().enumerate() {
            let _ = write!(
                path,
                "{}{:.1} {:.1}",
                if number == 0 { "M" } else { "L" },
                x + dx * r,
                y + dy * r
            );
        }
        path + "Z"
    };
    match number % 9 {
        0 => format!(
            "M{:.1} {y:.1}a{r} {r} 0 1 0 {} 0a{r} {r} 0 1 0 -{} 0Z",
            x - r,
            2.0 * r,
            2.0 * r
        ),
        1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => polygon(&[(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)]),
        3 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => polygon(&[(0.0, 1.2), (1.1, -0.9), (-1.1, -0.9)]),
        5 => polygon(&[
            (-1.2, -0.4),
            (-0.4, -0.4),
            (-0.4, -1.2),
            (0.4, -1.2),
            (0.4, -0.4),
            (1.2, -0.4),
            (1.2, 0.4),
            (0.4, 0.4),
            (0.4, 1.2),
            (-0.4, 1.2),
            (-0.4, 0.4),
            (-1.2, 0.4),
        ]),
        6 => polygon(&[(0.0, -1.2), (1.15, -0.4), (0.7, 1.0), (-0.7, 1.0), (-1.15, -0.4)]),
        7 => polygon(&[(-1.2, -0.5), (1.2, -0.5), (1.2, 0.5), (-1.2, 0.5)]),
        _ => polygon(&[(-0.5, -1.2), (0.5, -1.2), (0.5, 1.2), (-0.5, 1.2)]),
    }
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn label(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escape(text)
    );
}

/// A number with the digits that fit an axis.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size < f64::EPSILON => "0".to_owned(),
        ..0.1 => format!("{value:.3}"),
        ..1.0 => trimmed(format!("{value:.2}")),
        ..10.0 => trimmed(format!("{value:.1}")),
        ..10_000.0 => format!("{value:.0}"),
        _ => format!("{:.0}k", value / 1e3),
    }
}

fn trimmed(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Point>) -> Chart {
        Chart {
            title: "a <b>".into(),
            x: Axis::log("size"),
            y: Axis::log("ms"),
            series: vec![Series {
                name: "xdt-ct".into(),
                class: "c-xdt-ct".into(),
                mark: 3,
                points,
                kind: Kind::Line,
            }],
        }
    }

    #[test]
    fn every_point_lies_in_the_drawing_and_text_is_escaped() {
        let interval = Some((0.5, 2.0));
        let points = vec![
            Point {
                x: 1.0,
                y: 1.0,
                interval,
            },
            Point::new(1000.0, 50.0),
        ];
        let svg = chart(points).svg().unwrap();
        assert!(svg.contains("a &lt;b&gt;") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("class=\"mark\"").count(), 2);
        assert_eq!(svg.matches("class=\"interval\"").count(), 1);
        let line = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for pair in line.split_whitespace() {
            let (x, y) = pair.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y),
                "{pair}"
            );
        }
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        assert!(chart(Vec::new()).svg().is_none());
        assert!(
            chart(vec![Point::new(0.0, 1.0)]).svg().is_none(),
            "a logarithm has no zero"
        );
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            [0.001, 0.25, 1.0, 2.5, 100.0, 20_000.0].map(short),
            ["0.001", "0.25", "1", "2.5", "100", "20k"]
        );
    }
}
