package chstore

import (
	"errors"
	"fmt"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
)

// chCompression returns what clickhouse-go calls a method as ch-go does, if it has it.
func chCompression(method clickhouse.CompressionMethod) (c ch.Compression, ok bool) {
	switch method {
	case clickhouse.CompressionNone:
		return ch.CompressionDisabled, true
	case clickhouse.CompressionLZ4:
		return ch.CompressionLZ4, true
	case clickhouse.CompressionLZ4HC:
		return ch.CompressionLZ4HC, true
	case clickhouse.CompressionZSTD:
		return ch.CompressionZSTD, true
	}
	return 0, false
}

// chSettings returns the settings of a session as ch-go takes them.
func chSettings(settings clickhouse.Settings) []ch.Setting {
	all := make([]ch.Setting, 0, len(settings))
	for key, value := range settings {
		s := ch.Setting{Key: key, Important: true}
		switch v := value.(type) {
		case clickhouse.CustomSetting:
			s.Value, s.Custom, s.Important = v.Value, true, false
		case bool:
			s.Value = "0"
			if v {
				s.Value = "1"
			}
		default:
			s.Value = fmt.Sprint(v)
		}
		all = append(all, s)
	}
	return all
}

// asException returns what the server said as clickhouse-go tells it, so that callers have to know one type.
func asException(err error) error {
	var e *ch.Exception
	if !errors.As(err, &e) {
		return err
	}
	return &clickhouse.Exception{Code: int32(e.Code), Name: e.Name, Message: e.Message, StackTrace: e.Stack}
}
