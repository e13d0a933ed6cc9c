// Package intruder tries to get into what a program under test has opened: as another user of this host, and as a web page
// that a user of this host has open in a browser.
//
// TestMain of a package calls [Main] first, and a test [Try].
package intruder

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go"
)

// roleEnv makes a test binary an intruder. Its value is the addresses and folders, one a line.
const roleEnv = "TEST_INTRUDER"

// patience bounds each attempt.
const patience = 5 * time.Second

// Main turns a process that Try started into an intruder, and does not return then.
func Main() {
	targets, is := os.LookupEnv(roleEnv)
	if !is {
		return
	}
	var trying sync.WaitGroup // at once: a server may wait long for words of its own protocol
	for target := range strings.Lines(targets) {
		target = strings.TrimSpace(target)
		if filepath.IsAbs(target) {
			trying.Go(func() { readFiles(target) })
			continue
		}
		for _, user := range []string{"", "default", "marketprism", "analyst"} {
			for _, password := range []string{"", user} {
				trying.Go(func() { enterClickHouse(target, user, password) })
			}
		}
		trying.Go(func() { enterNATS(target) })
		trying.Go(func() { runSQL(target) })
	}
	trying.Wait()
	os.Exit(0)
}

// got reports a success, which is a failure of what was tried.
func got(what string, args ...any) { fmt.Printf("got "+what+"\n", args...) }

// readFiles reports what it can read below a folder.
func readFiles(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // errors are what it should get
		if err != nil {
			return nil
		}
		if d.IsDir() {
			if entries, err := os.ReadDir(path); err == nil {
				got("the list of the %d files in %s", len(entries), path)
			}
		} else if f, err := os.Open(path); err == nil {
			got("the file %s", path)
			f.Close()
		}
		return nil
	})
}

// enterClickHouse tries the native protocol.
func enterClickHouse(addr, user, password string) {
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{addr}, Auth: clickhouse.Auth{Username: user, Password: password}, DialTimeout: patience, ReadTimeout: patience,
	})
	if err != nil {
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.Exec(ctx, "SELECT 1"); err == nil {
		got("SQL at %s as %q", addr, user)
	}
}

// enterNATS tries to publish, and a subscription to everything.
func enterNATS(addr string) {
	if !speaksNATS(addr) {
		return
	}
	for _, url := range []string{"nats://" + addr, "nats://marketprism@" + addr, "nats://route:route@" + addr} {
		nc, err := nats.Connect(url, nats.Timeout(patience), nats.MaxReconnects(0), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			continue
		}
		got("NATS at %s", addr)
		nc.Close()
	}
}

// speaksNATS reports whether a server greets as NATS does, also on a port for other servers.
func speaksNATS(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // a server that waits for its client says nothing
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(line, "INFO ")
}

// runSQL tries ClickHouse's HTTP protocol.
func runSQL(addr string) {
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	const statement, answer = "SELECT 40 + 2", "42\n"
	for _, user := range []string{"", "user=default&", "user=marketprism&"} {
		res, err := client.Post("http://"+addr+"/?"+user, "text/plain", strings.NewReader(statement))
		if err != nil {
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		res.Body.Close()
		if res.StatusCode == http.StatusOK && strings.HasSuffix(string(body), answer) {
			got("SQL over HTTP at %s", addr)
		}
	}
}
