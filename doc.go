// Package marketprism is the vocabulary of market data that flows through this module: instruments,
// records, trades and tickers.
package marketprism
