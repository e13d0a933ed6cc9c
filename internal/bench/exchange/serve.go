package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// childMark is the environment variable that makes this program the exchange.
const childMark = "BENCH_EXCHANGE_CHILD"

// An exchange is the minimum of Binance spot that the driver needs, at little cost: without the limits and
// faults of binancetest.
type exchange struct {
	mu      sync.Mutex // held while one symbol changes, so that snapshots and subscriptions are consistent
	symbols []*symbol
	byName  map[string]*symbol // by name and by stream

	sent, late atomic.Int64 // events, and the greatest lateness of an interval in microseconds
	restart    atomic.Bool  // reset late
}

// A conn is a connection. Its mutex is held while a frame is written.
type conn struct {
	mu sync.Mutex
	ws *websocket.Conn
}

const writeWait = 10 * time.Second

func (c *conn) send(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ws.WriteMessage(websocket.TextMessage, frame)
}

// serve runs the exchange until the standard input ends. It prints its address on the first line, and at the
// end its counts on the second. Any byte of input resets the measure of lateness.
func serve(ctx context.Context, opt options) error {
	x := &exchange{byName: make(map[string]*symbol)}
	loops := make([]*loop, min(opt.symbols, 8))
	for i := range loops {
		loops[i] = newLoop(opt.levels, uint64(i))
	}
	for i := range opt.symbols {
		y := newSymbol(i, loops[i%len(loops)])
		x.symbols = append(x.symbols, y)
		x.byName[y.name], x.byName[y.stream] = y, y
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: x, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener) //nolint:errcheck // ends with the process
	fmt.Println(listener.Addr())

	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		var signal [1]byte
		for {
			if _, err := io.ReadFull(os.Stdin, signal[:]); err != nil {
				return
			}
			x.restart.Store(true)
		}
	}()
	x.run(ctx, opt)
	fmt.Println(x.sent.Load(), x.late.Load())
	return nil
}

// run sends the events of each interval of the grid.
func (x *exchange) run(ctx context.Context, opt options) {
	interval := time.Duration(float64(time.Second) / opt.rate)
	pause := time.Duration(opt.spread * float64(interval) / float64(len(x.symbols)))
	var frame []byte
	next := time.Now().Truncate(interval).Add(interval)
	for ctx.Err() == nil {
		time.Sleep(time.Until(next))
		if x.restart.Swap(false) {
			x.late.Store(0)
		}
		began := time.Now()
		for i, y := range x.symbols {
			if ahead := time.Duration(i)*pause - time.Since(began); ahead > 200*time.Microsecond {
				time.Sleep(ahead) // several events at a time, since a sleep takes longer than the pause between two
			}
			frame = x.move(y, frame)
		}
		next = next.Add(interval)
		if late := time.Since(next); late > 0 {
			x.late.Store(max(x.late.Load(), late.Microseconds()))
		}
	}
}

// move sends the next event of a symbol; frame is a buffer.
func (x *exchange) move(y *symbol, frame []byte) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	head, tail := y.next(frame[:0])
	for _, c := range y.subscribers {
		frame = append(strconv.AppendInt(head, time.Now().UnixMicro(), 10), tail...)
		if c.send(frame) == nil {
			x.sent.Add(1)
		}
	}
	return frame
}

func (x *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/stream":
		x.stream(w, r)
	case "/api/v3/exchangeInfo":
		w.Write(exchangeInfo(x.symbols)) //nolint:errcheck // the client notices
	case "/api/v3/time":
		fmt.Fprintf(w, `{"serverTime":%d}`, time.Now().UnixMilli())
	case "/api/v3/depth":
		y := x.byName[r.URL.Query().Get("symbol")]
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		if y == nil || err != nil {
			http.Error(w, `{"code":-1121,"msg":"Invalid symbol."}`, http.StatusBadRequest)
			return
		}
		x.mu.Lock()
		body := y.snapshot(limit)
		x.mu.Unlock()
		w.Write(body) //nolint:errcheck // the client notices
	default:
		http.NotFound(w, r)
	}
}

// stream serves one connection.
func (x *exchange) stream(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{WriteBufferSize: 64 << 10}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &conn{ws: ws}
	ended := make(chan struct{})
	defer close(ended)
	go c.ping(ended)
	defer x.forget(c)
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		var request struct {
			Method string          `json:"method"`
			Params []string        `json:"params"`
			ID     json.RawMessage `json:"id"`
		}
		if json.Unmarshal(data, &request) != nil || request.Method != "SUBSCRIBE" {
			return
		}
		x.mu.Lock()
		for _, name := range request.Params {
			if y := x.byName[name]; y != nil {
				y.subscribers = append(y.subscribers, c)
			}
		}
		x.mu.Unlock()
		if c.send(fmt.Appendf(nil, `{"result":null,"id":%s}`, request.ID)) != nil {
			return
		}
	}
}

// ping sends a ping every 20 seconds, as the real exchange does.
func (c *conn) ping(ended <-chan struct{}) {
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			c.ws.WriteControl(websocket.PingMessage, []byte("ping"), now.Add(writeWait)) //nolint:errcheck // the reader fails as well
		case <-ended:
			return
		}
	}
}

func (x *exchange) forget(c *conn) {
	c.ws.Close()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, y := range x.symbols {
		y.subscribers = slices.DeleteFunc(y.subscribers, func(o *conn) bool { return o == c })
	}
}
