//! Keys and values of the tokens a sequence has already seen, so that the next one costs one position.

use burn::tensor::{Device, Tensor, s};

use crate::config::ModelConfig;

/// One batch of sequences that advance together.
#[derive(Clone, Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// Positions held; the same for every row, padding included.
    length: usize,
    /// Positions there is room for.
    capacity: usize,
    /// Padding in front of each row, as given to the first forward pass; empty is none.
    left_pad: Vec<usize>,
}

#[derive(Clone, Debug)]
struct LayerCache {
    /// `[B, K, capacity, E]`
    k: Option<Tensor<4>>,
    v: Option<Tensor<4>>,
    shape: [usize; 4],
}

impl KvCache {
    /// Room for `capacity` positions; it grows when they are full.
    pub fn new(config: &ModelConfig, batch: usize, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let shape = [batch, config.kv_heads, capacity, config.head_dim];
        let layer = LayerCache { k: None, v: None, shape };
        Self { layers: vec![layer; config.n_layers], length: 0, capacity, left_pad: Vec::new() }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes held in f32 once every layer has been used.
    pub fn bytes(&self) -> usize {
        let per_layer = |layer: &LayerCache| 8 * layer.shape.iter().product::<usize>();
        self.layers.iter().map(per_layer).sum()
    }

    pub(crate) fn left_pad(&self) -> &[usize] {
        &self.left_pad
    }

    pub(crate) fn set_left_pad(&mut self, left_pad: &[usize]) {
        self.left_pad = left_pad.to_vec();
    }

    /// Makes room for `time` more positions in every layer.
    pub(crate) fn reserve(&mut self, time: usize, device: &Device) {
        let needed = self.length + time;
        let capacity = if needed <= self.capacity {
            self.capacity
        } else {
            // Doubling: a long answer copies its cache a few times, not at every token.
            needed.max(self.capacity * 2).next_multiple_of(64)
        };
        for layer in &mut self.layers {
            layer.resize(capacity, self.length, device);
        }
        self.capacity = capacity;
    }

    /// Appends `[B, K, T, E]` to a layer and returns all keys and values, `[B, K, S, E]`, as views.
    pub(crate) fn append(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let (from, to) = (self.length, self.length + k.dims()[2]);
        let layer = &mut self.layers[layer];
        let put = |slot: &mut Option<Tensor<4>>, value: Tensor<4>| {
            // Taken out while it is written: a buffer with one owner is written in place.
            let all = slot.take().expect("reserve ran before the first layer");
            let all = all.slice_assign(s![.., .., from..to, ..], value);
            let view = all.clone().slice(s![.., .., 0..to, ..]);
            *slot = Some(all);
            view
        };
        (put(&mut layer.k, k), put(&mut layer.v, v))
    }

    /// Counts `time` positions that every layer has appended.
    pub(crate) fn advance(&mut self, time: usize) {
        self.length += time;
    }

    /// What this holds of one sequence, for `batch` that go on from it, with room for `room` more positions.
    pub fn repeated(&self, batch: usize, room: usize) -> Self {
        let capacity = (self.length + room).max(1);
        let layers = self.layers.iter().map(|layer| layer.repeated(batch, self.length, capacity)).collect();
        Self { layers, length: self.length, capacity, left_pad: self.left_pad.repeat(batch) }
    }

    /// Forgets everything after the first `length` positions.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl LayerCache {
    fn repeated(&self, batch: usize, length: usize, capacity: usize) -> Self {
        let [_, heads, _, size] = self.shape;
        let shape = [batch, heads, capacity, size];
        let copies = |slot: &Option<Tensor<4>>| {
            let held = slot.as_ref().filter(|_| length > 0)?;
            let rows = held.clone().slice(s![.., .., 0..length, ..]).repeat_dim(0, batch);
            Some(Tensor::<4>::zeros(shape, &held.device()).slice_assign(s![.., .., 0..length, ..], rows))
        };
        Self { k: copies(&self.k), v: copies(&self.v), shape }
    }

    fn resize(&mut self, capacity: usize, length: usize, device: &Device) {
        if self.k.is_some() && self.shape[2] == capacity {
            return;
        }
        self.shape[2] = capacity;
        for slot in [&mut self.k, &mut self.v] {
            let grown = Tensor::zeros(self.shape, device);
            *slot = Some(match slot.take() {
                Some(old) if length > 0 => {
                    grown.slice_assign(s![.., .., 0..length, ..], old.slice(s![.., .., 0..length, ..]))
                }
                _ => grown,
            });
        }
    }
}
