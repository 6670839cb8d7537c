//! Points in a plane: how good against how wide. Each recommender has a shape and its name beside it.
//!
//! In: named points.  Out: the inside of one panel.
//! Never here: intervals; the dots have them.
//! Start at [`plane`].

use super::plot::{Scale, line, text};
use super::text::{escape, shortened, width};

/// One recommender in the plane.
pub(super) struct Point<'a> {
    pub(super) name: &'a str,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Place among the recommenders: decides the shape.
    pub(super) shape: usize,
    pub(super) is_baseline: bool,
}

/// Where a panel lies, and what its axes mean.
pub(super) struct Plane<'a> {
    pub(super) left: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
}

const TOP: f64 = 34.0;
const FOOT: f64 = 44.0;
const AXIS: f64 = 46.0;
/// Names of neighbouring points stand at least so far apart.
const LABEL: f64 = 15.0;
/// Half the width of a mark, and where a name beside it begins.
const MARK: f64 = 7.0;
const BESIDE: f64 = 10.0;
const NAME_COLUMNS: usize = 20;
const DIGIT: f64 = 7.2;

/// Draws axes, points and names.
pub(super) fn plane(plane: &Plane<'_>, points: &[Point<'_>]) -> String {
    let xs = axis(points.iter().map(|point| point.x));
    let ys = axis(points.iter().map(|point| point.y));
    let (left, right) = (plane.left + AXIS, plane.left + plane.width - 12.0);
    let (top, bottom) = (TOP, plane.height - FOOT);
    let at_x = |value: f64| left + xs.place(value) * (right - left);
    let at_y = |value: f64| bottom - ys.place(value) * (bottom - top);
    let mut drawn = text(plane.left, 14.0, "title start", plane.title);
    for tick in &xs.ticks {
        drawn += &line("grid", (at_x(*tick), top), (at_x(*tick), bottom));
        drawn += &text(at_x(*tick), bottom + 17.0, "soft middle", &xs.text(*tick));
    }
    for tick in &ys.ticks {
        drawn += &line("grid", (left, at_y(*tick)), (right, at_y(*tick)));
        drawn += &text(left - 7.0, at_y(*tick) + 4.0, "soft end", &ys.text(*tick));
    }
    drawn += &line("line", (left, bottom), (right, bottom));
    drawn += &line("line", (left, top), (left, bottom));
    drawn += &text(f64::midpoint(left, right), bottom + 36.0, "soft middle", plane.x_label);
    // A name may cover neither another name nor anybody's mark.
    let mut taken: Vec<Label> = points.iter().map(|point| Label::mark((at_x(point.x), at_y(point.y)))).collect();
    let mut order: Vec<&Point<'_>> = points.iter().collect();
    order.sort_by(|one, other| other.y.total_cmp(&one.y));
    for point in order {
        let (x, y) = (at_x(point.x), at_y(point.y));
        let label = Label::beside(point, (x, y), right, (top, bottom), &taken);
        if (label.y - y).abs() > LABEL / 2.0 {
            drawn += &line("lead", (x, y), (if label.is_left { label.to + 2.0 } else { label.from - 2.0 }, label.y));
        }
        let (at, class) = if label.is_left { (label.to, "end") } else { (label.from, "start") };
        drawn += &text(at, label.y + 4.0, class, &shortened(point.name, NAME_COLUMNS));
        drawn += &format!("<g>{}<title>{}</title></g>", shape(point, (x, y)), escape(point.name));
        taken.push(label);
    }
    drawn
}

/// From the least to the largest: in a plane only the distances between points speak.
fn axis(values: impl Iterator<Item = f64> + Clone) -> Scale {
    let least = values.clone().reduce(f64::min).unwrap_or_default();
    Scale::between(least, values.reduce(f64::max).unwrap_or_default(), 5)
}

/// The room that a name takes.
struct Label {
    from: f64,
    to: f64,
    y: f64,
    is_left: bool,
}

impl Label {
    /// The room that a mark takes.
    fn mark((x, y): (f64, f64)) -> Self {
        Self { from: x - MARK, to: x + MARK, y, is_left: false }
    }

    /// Right of the point, or left of it at the right edge; moved down, or up from the bottom, until it covers no other name.
    fn beside(point: &Point<'_>, (x, y): (f64, f64), right: f64, (top, bottom): (f64, f64), taken: &[Self]) -> Self {
        let length = width(point.name).min(NAME_COLUMNS) as f64 * DIGIT;
        let is_left = x + BESIDE + length > right;
        let (from, to) = if is_left { (x - BESIDE - length, x - BESIDE) } else { (x + BESIDE, x + BESIDE + length) };
        let is_free =
            |y: f64| taken.iter().all(|other| (other.y - y).abs() >= LABEL || other.to < from || to < other.from);
        // Down, up, further down …: never further than all names together.
        let moves = (0..2 * (taken.len() + 1)).map(|step| {
            let by = step.div_ceil(2) as f64 * LABEL;
            if step % 2 == 1 { by } else { -by }
        });
        let y = moves.map(|by| y + by).find(|y| (top..=bottom).contains(y) && is_free(*y)).unwrap_or(y);
        Self { from, to, y, is_left }
    }
}

/// Ten shapes that are told apart without colour; the baseline's is hollow.
fn shape(point: &Point<'_>, (x, y): (f64, f64)) -> String {
    let class = if point.is_baseline { "dot baseline" } else { "dot" };
    let path = |corners: &[(f64, f64)]| {
        let corners: Vec<String> = corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        format!("<polygon class=\"{class}\" points=\"{}\"/>", corners.join(" "))
    };
    let strokes = |lines: &[[f64; 4]]| {
        lines.iter().map(|[a, b, c, d]| line("dot", (x + a, y + b), (x + c, y + d))).collect::<String>()
    };
    match point.shape % 10 {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
        1 => path(&[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)]),
        2 => path(&[(0.0, -6.0), (5.5, 4.5), (-5.5, 4.5)]),
        3 => path(&[(0.0, -6.5), (6.5, 0.0), (0.0, 6.5), (-6.5, 0.0)]),
        4 => strokes(&[[-5.0, -5.0, 5.0, 5.0], [-5.0, 5.0, 5.0, -5.0]]),
        5 => strokes(&[[-6.0, 0.0, 6.0, 0.0], [0.0, -6.0, 0.0, 6.0]]),
        6 => path(&[(0.0, 6.0), (5.5, -4.5), (-5.5, -4.5)]),
        7 => strokes(&[[-6.0, 0.0, 6.0, 0.0], [-3.0, -5.5, 3.0, 5.5], [-3.0, 5.5, 3.0, -5.5]]),
        8 => path(&[(-6.0, 0.0), (4.5, -5.5), (4.5, 5.5)]),
        _ => path(&[(0.0, -6.0), (5.7, -1.9), (3.5, 4.9), (-3.5, 4.9), (-5.7, -1.9)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_points_in_one_place_do_not_cover_each_other() {
        let names: Vec<String> = (0..10).map(|number| format!("recommender-{number}")).collect();
        let points: Vec<Point<'_>> = names
            .iter()
            .enumerate()
            .map(|(shape, name)| Point { name, x: 0.5, y: 0.1, shape, is_baseline: shape == 0 })
            .collect();
        let mut taken: Vec<Label> = Vec::new();
        for point in &points {
            let label = Label::beside(point, (200.0, 150.0), 400.0, (34.0, 280.0), &taken);
            assert!(taken.iter().all(|other| (other.y - label.y).abs() >= LABEL), "{}", point.name);
            taken.push(label);
        }
        let place = Plane { left: 0.0, width: 460.0, height: 320.0, title: "", x_label: "" };
        let drawn = plane(&place, &points);
        assert!(names.iter().all(|name| drawn.contains(name)));
    }
}
