package natsserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A Cluster is several servers in this process that replicate streams, so that a stream outlives the end of any minority
// of them. It is not safe for concurrent use.
type Cluster struct {
	nodes []*Server
}

// A membership is a server's place in a cluster. The zero membership is that of a single server.
type membership struct {
	port  int   // for the other servers
	peers []int // the ports of all servers for each other, its own included
}

// routeUser is the user that the servers of a cluster are for each other.
const routeUser = "route"

func (m membership) join(opts *server.Options) {
	if len(m.peers) == 0 {
		return
	}
	// A route is trusted with everything, so that it asks for the token, too.
	opts.Cluster = server.ClusterOpts{Name: "marketprism", Host: opts.Host, Port: m.port, NoAdvertise: true,
		Username: routeUser, Password: opts.Authorization}
	for _, port := range m.peers {
		if port != m.port {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", User: url.UserPassword(routeUser, opts.Authorization), Host: fmt.Sprintf("%s:%d", opts.Host, port)})
		}
	}
}

// StartCluster starts n servers, 3 or more, on loopback, with their streams in folders below dir, and
// returns when they can make streams.
func StartCluster(dir string, n int) (*Cluster, error) {
	if n < 3 {
		return nil, fmt.Errorf("natsserver: a cluster of %d: want 3 or more, to outlive the end of one", n)
	}
	// All servers need the ports before the first one listens, so another process may take one.
	const tries = 5
	for try := 1; ; try++ {
		c, err := startCluster(dir, n)
		if err == nil || try == tries || !strings.Contains(err.Error(), "address already in use") {
			return c, err
		}
	}
}

func startCluster(dir string, n int) (*Cluster, error) {
	ports, err := freePorts(n)
	if err != nil {
		return nil, fmt.Errorf("natsserver: %w", err)
	}
	c := &Cluster{nodes: make([]*Server, n)}
	errs, token := make([]error, n), rand.Text()
	var wg sync.WaitGroup
	for i := range c.nodes {
		wg.Go(func() { // concurrently, because each waits for the others
			name := fmt.Sprintf("marketprism-%d", i+1)
			c.nodes[i], errs[i] = Start(Config{
				StoreDir: filepath.Join(dir, name), Token: token, name: name, member: membership{ports[i], ports},
			})
		})
	}
	wg.Wait()
	if err = errors.Join(errs...); err == nil {
		err = c.Await()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// freePorts returns n ports on which no process listened a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// URL returns the addresses of all servers, with commas between.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		urls[i] = s.URL()
	}
	return strings.Join(urls, ",")
}

// Suspend stops server i and returns when its port is free.
func (c *Cluster) Suspend(i int) { _ = c.nodes[i].Close() }

// Resume starts server i again after Suspend, at the same addresses and with its streams, and returns when it accepts
// connections. It may still lag behind the others; Await waits for it.
func (c *Cluster) Resume(i int) (err error) {
	s, err := Start(c.nodes[i].cfg)
	if err == nil {
		c.nodes[i] = s
	}
	return err
}

// Leader returns the server that leads a stream; -1 while none does.
func (c *Cluster) Leader(stream string) int {
	for i, s := range c.nodes {
		if s.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

// Await returns when every server runs, the cluster has a leader, and each server is up to date in all its streams and
// consumers. After half a minute it returns the first of these that is not the case.
func (c *Cluster) Await() error {
	const patience, interval = 30 * time.Second, 10 * time.Millisecond
	deadline := time.Now().Add(patience)
	for {
		err := c.health()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(interval)
	}
}

func (c *Cluster) health() error {
	led := false
	for _, s := range c.nodes {
		if health := s.srv.Healthz(&server.HealthzOptions{}); health.Status != "ok" {
			return fmt.Errorf("natsserver: %s: %s %s", s.cfg.name, health.Status, health.Error)
		}
		led = led || s.srv.JetStreamIsLeader()
	}
	if !led {
		return errors.New("natsserver: the cluster has no leader")
	}
	return nil
}

// Close stops all servers, and returns nil.
func (c *Cluster) Close() error {
	for _, s := range c.nodes {
		if s != nil {
			_ = s.Close() // always nil
		}
	}
	return nil
}
