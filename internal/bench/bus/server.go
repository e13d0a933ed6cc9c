package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/nats-io/nats.go/jetstream"
)

// asServer is the environment variable that makes this program the NATS server, with the folder of its data.
const asServer = "MARKETPRISM_BENCH_BUS_SERVER"

// serve runs the server until standard input ends, as it does when the parent ends.
func serve(dir string) error {
	server, err := natsserver.Start(natsserver.Config{StoreDir: dir})
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Println(server.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer starts this program again as the server, and returns its address and process.
func startServer() (url string, pid int, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "bench-bus-")
	if err != nil {
		return "", 0, nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), asServer+"="+dir), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, nil, errors.Join(err, os.RemoveAll(dir))
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", 0, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait(), os.RemoveAll(dir)) }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", 0, nil, errors.Join(fmt.Errorf("the server did not start: %w", err), stop())
	}
	return strings.TrimSpace(line), cmd.Process.Pid, stop, nil
}

// connect connects to a server. The caller closes the connection of the result.
func connect(ctx context.Context, url string) (jetstream.JetStream, error) {
	conn, err := natsbus.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
	}
	return js, err
}

// ensureStreams makes the streams, with room for all records of a run.
func ensureStreams(ctx context.Context, js jetstream.JetStream) error {
	return natsbus.EnsureStreams(ctx, js, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 7 << 30}})
}
