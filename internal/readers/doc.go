// Package readers has the tests of the file sinks with the programs that read their files: DuckDB, Polars, pyarrow,
// pandas, hftbacktest and nautilus_trader. install.sh makes a folder with them; without it the tests are skipped.
package readers
