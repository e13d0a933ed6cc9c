// Package copies copies books where go vet must report it.
package copies

import "github.com/marketprism/marketprism/orderbook"

type position struct {
	book orderbook.Book
}

func copies(b *orderbook.Book, p *position) {
	one := *b
	two := p.book
	three := *p
	use(&one, &two, &three.book, b.Clone())
}

func use(...*orderbook.Book) {}
