//! A sparse matrix by rows: the one shape in which models see interactions.
//!
//! In: rows of (column, value), columns rising.  Out: row views and the transposed matrix.
//! Never here: what rows and columns mean.
//! Start at [`Csr`].

use std::ops::Range;

/// Compressed sparse rows: `u32` columns, `f32` values, columns rising within a row. 8 bytes per stored value.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    columns_total: usize,
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Csr {
    /// Builds the matrix row by row; each row's columns must be rising and below `columns_total`.
    pub fn from_rows<R>(columns_total: usize, rows: impl IntoIterator<Item = R>) -> Self
    where
        R: IntoIterator<Item = (u32, f32)>,
    {
        let mut matrix = Self { columns_total, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
        for row in rows {
            for (column, value) in row {
                matrix.columns.push(column);
                matrix.values.push(value);
            }
            matrix.offsets.push(matrix.columns.len());
        }
        matrix
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns_total
    }

    /// Number of stored values.
    pub fn stored(&self) -> usize {
        self.columns.len()
    }

    /// The columns and values of one row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// The columns of all rows after one: what a walk over the rows will read next.
    pub(crate) fn columns_after(&self, row: usize) -> &[u32] {
        &self.columns[self.offsets[row + 1]..]
    }

    /// Number of stored values of one row.
    pub fn row_len(&self, row: usize) -> usize {
        self.offsets[row + 1] - self.offsets[row]
    }

    /// Sum of squares of one row.
    pub fn row_norm_squared(&self, row: usize) -> f32 {
        self.row(row).1.iter().map(|value| value * value).sum()
    }

    /// The same places with other values: `value` is given the row and the value that stands there.
    pub(crate) fn map_values(&self, value: impl Fn(usize, f32) -> f32) -> Self {
        let mut mapped = self.clone();
        for row in 0..self.rows() {
            let range = self.offsets[row]..self.offsets[row + 1];
            mapped.values[range].iter_mut().for_each(|stored| *stored = value(row, *stored));
        }
        mapped
    }

    /// The transposed matrix, by counting sort; stable, so its columns are rising too.
    pub fn transposed(&self) -> Self {
        self.transposed_with(|_| ()).0
    }

    /// The transposed matrix, and for each of its values the place that it has in its row of this one.
    pub(crate) fn transposed_with_places(&self) -> (Self, Vec<u32>) {
        self.transposed_with(|place| place)
    }

    /// The transposed matrix, and for each of its values what `keep` makes of the place in its row of this one.
    fn transposed_with<T: Clone + Default>(&self, keep: impl Fn(u32) -> T) -> (Self, Vec<T>) {
        let mut offsets = vec![0usize; self.columns_total + 1];
        for &column in &self.columns {
            offsets[column as usize + 1] += 1;
        }
        for column in 0..self.columns_total {
            offsets[column + 1] += offsets[column];
        }
        let mut next = offsets.clone();
        let mut columns = vec![0u32; self.columns.len()];
        let mut values = vec![0f32; self.columns.len()];
        let mut kept = vec![T::default(); self.columns.len()];
        for row in 0..self.rows() {
            let (row_columns, row_values) = self.row(row);
            for (from, (&column, &value)) in (0u32..).zip(row_columns.iter().zip(row_values)) {
                let place = &mut next[column as usize];
                columns[*place] = row as u32;
                values[*place] = value;
                kept[*place] = keep(from);
                *place += 1;
            }
        }
        (Self { columns_total: self.rows(), offsets, columns, values }, kept)
    }

    /// Where the values of a row lie among all values.
    pub(crate) fn place(&self, row: usize) -> Range<usize> {
        self.offsets[row]..self.offsets[row + 1]
    }

    /// Whether every stored value is 1.
    pub(crate) fn is_binary(&self) -> bool {
        self.values.iter().all(|value| *value == 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_twice_is_the_same_matrix() {
        let matrix = Csr::from_rows(3, [vec![(0, 1.0), (2, 2.0)], vec![], vec![(0, 3.0)]]);
        assert_eq!(matrix.transposed().row(0), (&[0u32, 2][..], &[1.0f32, 3.0][..]));
        assert_eq!(matrix.transposed().row_len(1), 0);
        assert_eq!(matrix.transposed().transposed(), matrix);
        let (transposed, places) = matrix.transposed_with_places();
        assert_eq!((transposed, places), (matrix.transposed(), vec![0, 0, 1]));
    }
}
