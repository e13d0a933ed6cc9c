package intruder

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unused is a user and group id that no user has.
const unused = 65534

// Targets are what Try tries.
type Targets struct {
	Pids    []int    // processes whose ports, arguments and environments are tried
	Ports   []int    // of this process at 127.0.0.1
	Dirs    []string // whose files no other user may read
	Secrets []string // which no argument or file that others can read, no environment and no Output has
	Output  string   // what the processes have printed
}

// Try fails the test for each thing that an intruder gets. Trying as another user takes root; elsewhere it says that it
// is left out.
func Try(t *testing.T, targets Targets) {
	t.Helper()
	var addrs []string
	for _, port := range targets.Ports {
		addrs = append(addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	for _, pid := range targets.Pids {
		addrs = append(addrs, Listening(t, pid)...)
		seek(t, targets.Secrets, fmt.Sprintf("/proc/%d/cmdline", pid))
		if pid != os.Getpid() {
			seek(t, targets.Secrets, fmt.Sprintf("/proc/%d/environ", pid))
		}
	}
	if len(addrs)+len(targets.Dirs) == 0 {
		t.Fatal("there is nothing to try")
	}
	for _, secret := range targets.Secrets {
		if strings.Contains(targets.Output, secret) {
			t.Errorf("a secret was printed")
		}
	}
	for _, addr := range addrs {
		asWebPage(t, addr)
	}
	asAnother(t, append(addrs, targets.Dirs...))
	for _, dir := range targets.Dirs {
		private(t, dir)
	}
}

// private fails the test for each file or folder that others than its owner may use, as they could after a parent was
// opened to them.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // it has just been removed
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode()&0o077 != 0 && info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("others may use %s: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func seek(t *testing.T, secrets []string, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s has a secret", path)
		}
	}
}

// asAnother runs this test binary as another user.
func asAnother(t *testing.T, targets []string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Log("LEFT OUT: only root can try as another user")
		return
	}
	// The binary of go test is in a folder that only its owner may enter.
	dir, err := os.MkdirTemp("", "intruder-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	program := filepath.Join(dir, "intruder")
	if err == nil {
		err = os.Link(self, program)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{roleEnv + "=" + strings.Join(targets, "\n")}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unused, Gid: unused}}
	var noise strings.Builder // of clients that are answered in another protocol
	cmd.Stderr = &noise
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("another user: %v\n%s", err, noise.String())
	}
	if len(out) > 0 {
		t.Errorf("another user:\n%s", out)
	}
}

// pong is what a ClickHouse with HTTP answers everybody who asks for nothing.
const pong = "Ok.\n"

// asWebPage sends what a page of another origin can send without being asked first, and what it can send after it has
// pointed its own name to this host.
func asWebPage(t *testing.T, addr string) {
	t.Helper()
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	for _, body := range []string{"", "SELECT 40 + 2", "CONNECT {}\r\nPUB md.binance.spot.depth.X 1\r\nx\r\n"} {
		for _, host := range []string{"", "rebound.example"} {
			method := http.MethodGet
			if body != "" {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+"/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			req.Header.Set("Content-Type", "text/plain")
			req.Header.Set("Origin", "http://rebound.example")
			site := "cross-site"
			if host != "" {
				site = "same-origin" // as the browser sees it
			}
			req.Header.Set("Sec-Fetch-Site", site)
			req.Header.Set("Sec-Fetch-Mode", "cors")
			res, err := client.Do(req)
			if err != nil {
				continue // it does not speak HTTP
			}
			answer, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
			res.Body.Close()
			if string(answer) == pong {
				continue
			}
			if res.StatusCode < 300 || len(res.Header.Values("Access-Control-Allow-Origin")) > 0 {
				t.Errorf("a web page got status %d from %s for %s %q with Host %q: %.100q", res.StatusCode, addr, method, body, host, answer)
			}
		}
	}
}

// Listening returns the TCP addresses at which a process listens, as this host reaches them.
func Listening(t *testing.T, pid int) []string {
	t.Helper()
	sockets := make(map[string]bool)
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var addrs []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // there is no IPv6
		}
		for line := range strings.Lines(string(text)) {
			const localAddress, state, inode, listens = 1, 3, 9, "0A"
			fields := strings.Fields(line)
			if len(fields) <= inode || fields[state] != listens || !sockets[fields[inode]] {
				continue
			}
			_, hex, _ := strings.Cut(fields[localAddress], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			host := "127.0.0.1"
			if table == "tcp6" {
				host = "::1"
			}
			addrs = append(addrs, net.JoinHostPort(host, strconv.FormatUint(port, 10)))
		}
	}
	slices.Sort(addrs)
	return addrs
}
