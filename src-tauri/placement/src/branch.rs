//! Branch and bound over the items of a [`Field`]: the relaxation of what is left bounds each part of the choices, and an item that it splits is
//! decided both ways.
//!
//! Three things keep the tree small. An item whose reduced cost is more than what lies between the bound of a part and the best choice stands in all better
//! ones of that part as in its relaxation, and is decided. No item counts for more of a need than is still missing of it. And parts are looked at by
//! their bounds, the lowest first, but for one that was just begun, which is followed down to a choice.
//!
//! Whole numbers decide whether a choice holds. The bound is one whenever the search ends: the lowest of the parts that were not looked at.

use crate::{
    field::{CHEAPER, Field, Standing},
    problem::Rows,
    relax::{self, Basic, Relaxed, Start},
};
use std::{cmp::Ordering, collections::BinaryHeap, rc::Rc};

/// Shares nearer to zero or to one than this count as it.
const WHOLE: f64 = 1e-7;

/// A step takes as long as looking at so many items, besides those that it looks at.
const STEP: usize = 100;

/// What a search came to.
pub(crate) struct Branched {
    /// Whether there is nothing cheaper among these items.
    pub(crate) all: bool,
    /// What all choices cost at least that are not the best one.
    pub(crate) bound: f64,
    /// The cheapest, if one is below the cost that was said.
    pub(crate) best: Option<Standing>,
    /// Items looked at, in all steps.
    pub(crate) made: u64,
}

/// A part of the choices.
struct Part {
    bound: f64,
    /// Items that are in.
    ins: Vec<usize>,
    /// Items that are not decided, by number, and one that is.
    open: Rc<Vec<usize>>,
    decided: usize,
    /// The basis of the part that it is one of.
    basis: Rc<Vec<Basic>>,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Part {}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        // The lowest bound first, and of two as low the one in which more is decided.
        other.bound.total_cmp(&self.bound).then(other.open.len().cmp(&self.open.len()))
    }
}

/// Looks for the cheapest choice below a cost that differs from this one in these items at most.
pub(crate) fn among(field: &Field<'_>, from: &Standing, open: &[usize], below: f64, effort: u64) -> Branched {
    let mut without = from.clone();
    open.iter().filter(|item| from.has(**item)).for_each(|item| field.remove(&mut without, *item));
    let mut search = Search { field, without, below, best: None, made: 0 };
    let none = Part { bound: 0.0, ins: Vec::new(), open: Rc::new(open.to_vec()), decided: usize::MAX, basis: Rc::default() };
    let mut waiting = BinaryHeap::new();
    let mut next = Some(none);
    while let Some(part) = next.take().or_else(|| waiting.pop()) {
        if part.bound >= search.enough() {
            continue;
        }
        if search.made >= effort {
            waiting.push(part);
            break;
        }
        if let Some((nearer, other)) = search.look(&part) {
            waiting.push(other);
            next = Some(nearer);
        }
    }
    let bound = waiting.iter().map(|part| part.bound).fold(search.below, f64::min);
    let all = bound >= search.enough();
    Branched { all, bound, best: search.best, made: search.made }
}

struct Search<'a> {
    field: &'a Field<'a>,
    /// Without any open item.
    without: Standing,
    below: f64,
    best: Option<Standing>,
    made: u64,
}

impl Search<'_> {
    /// What costs so much is not cheaper.
    fn enough(&self) -> f64 {
        self.below * (1.0 - CHEAPER)
    }

    /// Bounds a part, and cuts it in two; the one that is more like its relaxation first.
    fn look(&mut self, part: &Part) -> Option<(Part, Part)> {
        let field = self.field;
        let mut standing = self.without.clone();
        part.ins.iter().for_each(|item| field.add(&mut standing, *item));
        let rows = field.rows_of(&standing, &part.open);
        let start = Start {
            basis: part.basis.iter().map(|basic| local(*basic, &part.open)).collect::<Option<_>>().unwrap_or_default(),
            closed: part.open.iter().position(|item| *item == part.decided),
            enough: self.enough() - standing.cost(),
        };
        let relaxed = relax::solve_from(&rows, &start);
        self.made += ((part.open.len() + STEP) * (relaxed.as_ref().map_or(1, |relaxed| relaxed.steps) + 1)) as u64;
        let relaxed = relaxed?;
        let bound = (standing.cost() + relaxed.bound).max(part.bound);
        if bound >= self.enough() {
            return None;
        }
        let at = self.round(&standing, part, &rows, &relaxed);
        let margin = self.enough() - bound;
        if margin <= 0.0 {
            return None;
        }
        let decided = at?;
        // What is further from zero than the margin is decided.
        let mut open = Vec::with_capacity(part.open.len());
        let mut ins = part.ins.clone();
        let mut is_split = vec![false; part.open.len()];
        relaxed.split.iter().for_each(|(j, _)| is_split[*j] = true);
        for (j, item) in part.open.iter().enumerate().filter(|(j, _)| Some(*j) != start.closed) {
            if is_split[j] || relaxed.reduced[j].abs() < margin || j == decided {
                open.push(*item);
            } else if relaxed.reduced[j] < 0.0 {
                ins.push(*item);
            }
        }
        let open = Rc::new(open);
        let basis = Rc::new(relaxed.basis.iter().map(|basic| number(*basic, &part.open)).collect::<Vec<_>>());
        let item = part.open[decided];
        let inside = relaxed.whole.contains(&decided) || relaxed.split.iter().any(|(j, x)| *j == decided && *x >= 0.5);
        let out = Part { bound, ins: ins.clone(), open: Rc::clone(&open), decided: item, basis: Rc::clone(&basis) };
        ins.push(item);
        let with = Part { bound, ins, open, decided: item, basis };
        Some(if inside { (with, out) } else { (out, with) })
    }

    /// Makes choices of a relaxation: each way to round what it splits. Says what to decide next, if there is anything left to.
    fn round(&mut self, standing: &Standing, part: &Part, rows: &Rows, relaxed: &Relaxed) -> Option<usize> {
        let split: Vec<(usize, f64)> = relaxed.split.iter().copied().filter(|(_, x)| (WHOLE..=1.0 - WHOLE).contains(x)).collect();
        let sure = relaxed.whole.iter().copied().chain(relaxed.split.iter().filter(|(_, x)| *x > 1.0 - WHOLE).map(|(j, _)| *j));
        let sure: Vec<usize> = sure.collect();
        let give = |row: &[f64]| sure.iter().map(|j| row[*j]).sum::<f64>();
        let missing: Vec<f64> = rows.rows.iter().zip(&rows.need).map(|(row, need)| need - give(row)).collect();
        let mut ways: Vec<(f64, usize)> = Vec::new();
        let cost = standing.cost() + sure.iter().map(|j| rows.costs[*j]).sum::<f64>();
        for way in 0..1usize << split.len() {
            let of = || split.iter().enumerate().filter(move |(bit, _)| way >> bit & 1 == 1).map(|(_, (j, _))| *j);
            let cost = cost + of().map(|j| rows.costs[j]).sum::<f64>();
            let covers =
                || rows.rows.iter().zip(&missing).all(|(row, missing)| of().map(|j| row[j]).sum::<f64>() >= missing - WHOLE);
            if cost < self.enough() && covers() {
                ways.push((cost, way));
            }
        }
        ways.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (cost, way) in ways {
            if cost >= self.enough() {
                break;
            }
            let mut whole = standing.clone();
            sure.iter().for_each(|j| self.field.add(&mut whole, part.open[*j]));
            for (bit, (j, _)) in split.iter().enumerate() {
                if way >> bit & 1 == 1 {
                    self.field.add(&mut whole, part.open[*j]);
                }
            }
            if self.field.holds(&whole) && whole.cost() < self.enough() {
                self.below = whole.cost();
                self.best = Some(whole);
            }
        }
        // The nearest to a half says most, weighed by what hangs on it.
        let says = |(j, x): &(usize, f64)| x.min(1.0 - x) * rows.costs[*j].max(f64::MIN_POSITIVE);
        let next = split.iter().max_by(|a, b| says(a).total_cmp(&says(b)).then(b.0.cmp(&a.0))).map(|(j, _)| *j);
        next.or_else(|| {
            // Nothing is split: this choice is the cheapest of its part, but for owners and for what rounding got wrong.
            let closed = part.open.iter().position(|item| *item == part.decided);
            sure.iter().copied().chain(0..part.open.len()).find(|j| Some(*j) != closed)
        })
    }
}

/// A basis by the items' numbers, and by their places among the open ones.
fn number(basic: Basic, open: &[usize]) -> Basic {
    match basic {
        Basic::Column(j) => Basic::Column(open[j]),
        surplus @ Basic::Surplus(_) => surplus,
    }
}

fn local(basic: Basic, open: &[usize]) -> Option<Basic> {
    match basic {
        Basic::Column(item) => open.iter().position(|i| *i == item).map(Basic::Column),
        surplus @ Basic::Surplus(_) => Some(surplus),
    }
}
