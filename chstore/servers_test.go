package chstore_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

// onMain is what ends the name in a statement for all servers of the cluster of startServers.
const onMain = " ON CLUSTER `main`"

// A clusterServer is a server of a cluster, behind a relay at an address that stays.
//
// The engine of the tests refuses ON CLUSTER (code 392, "Replicated DDL queries are disabled"), so the
// relay blanks it: a statement runs on this one server, and a test that migrates every server does
// what ON CLUSTER would. All else, what servers say to each other included, passes as it is.
type clusterServer struct {
	*chserver.Server
	addr   string // of the relay
	target atomic.Value
	open   sync.Map // the relay's connections to the server
}

// startServers starts the servers of the cluster "main". The shards are lists of replicas by their
// numbers, as in {{0, 1}} for one shard of two; sections returns more configuration of a server.
func startServers(t *testing.T, shards [][]int, sections func(server int) string) []*clusterServer {
	t.Helper()
	chtest.Require(t)
	var servers []*clusterServer
	remote := "<remote_servers><main>"
	for _, shard := range shards {
		remote += "<shard><internal_replication>true</internal_replication>"
		for range shard {
			s := new(clusterServer)
			s.relay(t)
			servers = append(servers, s)
			host, port, err := net.SplitHostPort(s.addr)
			require.NoError(t, err)
			remote += fmt.Sprintf("<replica><host>%s</host><port>%s</port></replica>", host, port)
		}
		remote += "</shard>"
	}
	remote += "</main></remote_servers>"
	for i, s := range servers {
		config := chtest.Config()
		config.Sections = remote + sections(i)
		s.start(t, config)
	}
	return servers
}

func (s *clusterServer) start(t *testing.T, config chserver.Config) {
	t.Helper()
	s.Server = chtest.Start(t, config)
	s.target.Store(s.Addr())
	// Servers keep connections to each other, for whose end a server waits when it is stopped.
	t.Cleanup(func() {
		s.open.Range(func(conn, _ any) bool {
			conn.(net.Conn).Close()
			return true
		})
	})
}

// relay listens until the end of the test.
func (s *clusterServer) relay(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	s.addr = listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go s.carry(client)
		}
	}()
}

// carry ends when either side does.
func (s *clusterServer) carry(client net.Conn) {
	defer client.Close()
	target, _ := s.target.Load().(string)
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	s.open.Store(server, nil)
	defer s.open.Delete(server)
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server) // an error is the end as well
		client.Close()
	}()
	// The text of a statement is sent as it is, after its length: blanks keep that true. A client
	// writes a statement of this size at once; one that comes in two pieces is refused by the server.
	blanks := bytes.Repeat([]byte(" "), len(onMain))
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if _, werr := server.Write(bytes.ReplaceAll(buf[:n], []byte(onMain), blanks)); err != nil || werr != nil {
			return
		}
	}
}

// store returns a Store that knows this server alone.
func (s *clusterServer) store(t *testing.T, cfg chstore.Config) (*chstore.Store, *chstore.Conn) {
	t.Helper()
	conn, err := chstore.Dial(t.Context(), s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	store, err := chstore.New(conn, cfg)
	require.NoError(t, err)
	return store, conn
}

// here is a statement for one server.
func here(statement string) string { return strings.ReplaceAll(statement, onMain, "") }
