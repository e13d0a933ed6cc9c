package chstore

import (
	"time"
)

// A Partition is the span of time that one partition of a table holds. Times are UTC.
type Partition uint8

// The spans. The zero value leaves the choice to each table.
const (
	Hour  Partition = 1 // named 2026112313
	Day   Partition = 2 // named 20261123
	Week  Partition = 3 // ISO weeks, from Monday; named 202648
	Month Partition = 4 // named 202611
)

// String returns the name of the span.
func (p Partition) String() string {
	switch p {
	case 0:
		return "default"
	case Hour:
		return "hour"
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	}
	return "unknown"
}

// expression returns the partition key over the column ts, as ClickHouse itself writes it. Its value is what id computes, and being
// an integer it is also ClickHouse's name of the partition, _partition_id.
func (p Partition) expression() string {
	switch p {
	case Hour:
		return "(toYYYYMMDD(ts) * 100) + toHour(ts)"
	case Day:
		return "toYYYYMMDD(ts)"
	case Week:
		return "(toISOYear(ts) * 100) + toISOWeek(ts)"
	}
	return "toYYYYMM(ts)"
}

// id returns the partition of a time.
func (p Partition) id(t time.Time) uint32 {
	t = t.UTC()
	if p == Week {
		year, week := t.ISOWeek()
		return uint32(year*100 + week)
	}
	year, month, day := t.Date()
	id := uint32(year*100 + int(month))
	if p == Month {
		return id
	}
	id = id*100 + uint32(day)
	if p == Day {
		return id
	}
	return id*100 + uint32(t.Hour())
}

// A partitioner computes the partitions of many times of which most lie in the same hour.
type partitioner struct {
	step Partition
	hour int64 // of the last answer, counted from 1970
	last uint32
}

const hourNanos = int64(time.Hour)

func newPartitioner(step Partition) partitioner { return partitioner{step: step, hour: -1} }

// id returns the partition of a time in nanoseconds since 1970. Every Partition is made of whole hours.
func (p *partitioner) id(nanos int64) uint32 {
	if hour := nanos / hourNanos; hour != p.hour {
		p.hour, p.last = hour, p.step.id(time.Unix(0, nanos))
	}
	return p.last
}
