//! What would have followed a text: the likeliest tokens of every place, level by level, as the sampler would draw them. It reads
//! asynchronously, as all of [`look`](super).

use hearth_shared::lab::sampling::{Node, TreeSpec, WIDEST, path};
use hearth_shared::spec::Sampling;

use super::LookError;
use super::reading::{ROWS, Reading};
use crate::sampler::stages::chances;
use crate::transformer::Transformer;

/// A tree on its way. The model and the text are lent to every step.
#[derive(Clone, Debug)]
pub struct Growth {
    sampling: Sampling,
    spec: TreeSpec,
    /// Tokens that end a text.
    eos: Vec<u32>,
    nodes: Vec<Node>,
    /// Nodes of one level whose followers are still looked for.
    waiting: Vec<u32>,
    /// Their level.
    level: u32,
    forwarded: usize,
}

impl Growth {
    /// The first level, which the text's own logits give. The text was read to its end.
    pub fn new(reading: &Reading, sampling: &Sampling, spec: TreeSpec, eos: &[u32]) -> Self {
        let mut tree = Self {
            sampling: sampling.clone(),
            spec: spec.bounded(),
            eos: eos.to_vec(),
            nodes: Vec::new(),
            waiting: Vec::new(),
            level: 0,
            forwarded: 0,
        };
        tree.add(None, reading.tokens(), reading.logits());
        tree.descend();
        tree
    }

    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Levels that are whole, and how many there can be.
    pub fn levels(&self) -> (u32, u32) {
        (if self.is_done() { self.spec.depth } else { self.level }, self.spec.depth)
    }

    /// Continuations that went through the model.
    pub fn forwarded(&self) -> usize {
        self.forwarded
    }

    /// Level by level, a node behind its parent.
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Finds the followers of some nodes of the level, in one pass.
    ///
    /// # Errors
    /// The device was lost or refused the work; the tree is of no more use then.
    pub async fn grow(&mut self, model: &Transformer, reading: &Reading) -> Result<(), LookError> {
        let count = self.waiting.len().min(ROWS);
        let parents: Vec<u32> = self.waiting.drain(..count).collect();
        if parents.is_empty() {
            return Ok(());
        }
        let paths: Vec<Vec<u32>> = parents.iter().map(|parent| path(&self.nodes, *parent)).collect();
        let all = reading.after(model, &paths).await?;
        for ((parent, path), logits) in parents.iter().zip(&paths).zip(&all) {
            let seen = [reading.tokens(), path].concat();
            self.add(Some(*parent), &seen, logits);
        }
        self.forwarded += count;
        if self.waiting.is_empty() {
            self.descend();
        }
        Ok(())
    }

    /// The likeliest followers of a node, as long as they are likely enough in all.
    fn add(&mut self, parent: Option<u32>, seen: &[u32], logits: &[f32]) {
        let above = parent.and_then(|parent| self.nodes.get(parent as usize));
        let (before, depth) = above.map_or((1.0, 1), |node| (node.in_all, node.depth + 1));
        for (id, share) in chances(logits, seen, &self.sampling, self.spec.branches as usize) {
            let in_all = before * share;
            if in_all >= self.spec.floor {
                self.nodes.push(Node { parent, id, depth, share, in_all, ends: self.eos.contains(&id) });
            }
        }
    }

    /// Goes a level down: of its nodes the likeliest are followed.
    fn descend(&mut self) {
        self.level += 1;
        if self.level >= self.spec.depth {
            return;
        }
        let level = self.level;
        let all = (0_u32..).zip(&self.nodes).filter(|(_, node)| node.depth == level && !node.ends);
        let mut open: Vec<(u32, f64)> = all.map(|(place, node)| (place, node.in_all)).collect();
        open.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        open.truncate(WIDEST);
        self.waiting = open.into_iter().map(|(place, _)| place).collect();
        self.waiting.sort_unstable();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::executor::block_on;

    use super::super::last_logits;
    use super::super::reading::tests::read_whole;
    use super::super::small::model;
    use super::*;

    const PROMPT: [u32; 5] = [3, 17, 4, 44, 9];

    fn sampling() -> Sampling {
        Sampling { temperature: 0.9, top_p: 0.95, repetition_penalty: 1.3, ..Sampling::default() }
    }

    fn grown(model: &Transformer, spec: TreeSpec, eos: &[u32]) -> Growth {
        let reading = read_whole(model, Reading::new(model.config(), &PROMPT));
        let mut tree = Growth::new(&reading, &sampling(), spec, eos);
        let mut before = 0;
        while !tree.is_done() {
            let (level, depth) = tree.levels();
            assert!(level >= before && level < depth);
            before = level;
            block_on(tree.grow(model, &reading)).unwrap();
        }
        assert_eq!(tree.levels(), (spec.depth, spec.depth));
        tree
    }

    /// What follows a path, with the whole text through the model.
    fn followers(model: &Transformer, path: &[u32], count: usize) -> Vec<(u32, f64)> {
        let seen = [&PROMPT[..], path].concat();
        chances(&block_on(last_logits(model, &seen)).unwrap(), &seen, &sampling(), count)
    }

    #[test]
    fn every_node_has_the_share_that_the_sampler_gives_it() {
        let model = model();
        let spec = TreeSpec { branches: 3, depth: 3, floor: 0.001 };
        let tree = grown(&model, spec, &[]);
        let forwarded = tree.forwarded();
        let nodes = tree.into_nodes();
        assert!(nodes.len() > 12 && nodes.iter().any(|node| node.depth == 3), "{nodes:?}");
        let inner = nodes.iter().filter(|node| node.depth < 3).count();
        assert_eq!(forwarded, inner);
        let parents = std::iter::once(None).chain((0..nodes.len() as u32).map(Some));
        for parent in parents {
            let found: Vec<&Node> = nodes.iter().filter(|node| node.parent == parent).collect();
            let (before, depth) = parent.map_or((1.0, 1), |place| {
                let node = &nodes[place as usize];
                (node.in_all, node.depth + 1)
            });
            if depth > spec.depth {
                assert!(found.is_empty());
                continue;
            }
            let ids = parent.map(|place| path(&nodes, place)).unwrap_or_default();
            let expected = followers(&model, &ids, 3);
            // Whether a follower on the very floor is in is up to rounding.
            let sure = expected.iter().filter(|(_, share)| before * share > spec.floor + 1e-5).count();
            assert!(found.len() >= sure && found.len() <= expected.len(), "{parent:?}: {found:?}, not {expected:?}");
            for (node, (id, share)) in found.iter().zip(expected) {
                assert_eq!((node.id, node.depth), (id, depth));
                assert!((node.share - share).abs() < 1e-4 && (node.in_all - before * share).abs() < 1e-4, "{node:?}");
            }
        }
    }

    #[test]
    fn nothing_follows_what_ends_a_text_or_is_unlikely() {
        let model = model();
        let spec = TreeSpec { branches: 4, depth: 4, floor: 0.02 };
        let nodes = grown(&model, spec, &[]).into_nodes();
        assert!(nodes.iter().all(|node| node.in_all >= spec.floor && !node.ends));
        let first = nodes[0].id;
        let ended = grown(&model, spec, &[first]).into_nodes();
        assert!(ended[0].ends && ended.iter().all(|node| node.parent != Some(0)));
        // A narrow tree is one path: the followers of the likeliest.
        let one = grown(&model, TreeSpec { branches: 1, depth: 3, floor: 0.001 }, &[]).into_nodes();
        assert!(one.iter().zip(1..).all(|(node, depth)| node.depth == depth) && one.len() <= 3, "{one:?}");
    }
}
