package chstore_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// zookeeperJar is where Debian's package libzookeeper-java has the server; it names the libraries it needs.
const zookeeperJar = "/usr/share/java/zookeeper.jar"

// startZooKeeper starts a ZooKeeper for the test and returns its address. The test is skipped where
// ZooKeeper is not installed: no other test needs it.
func startZooKeeper(t *testing.T) string {
	t.Helper()
	java, err := exec.LookPath("java")
	if err == nil {
		_, err = os.Stat(zookeeperJar)
	}
	if err != nil {
		t.Skipf("SKIPPED, this test needs ZooKeeper (apt-get install default-jre-headless libzookeeper-java): %v", err)
	}
	// ZooKeeper does not tell the port it would choose by itself.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().(*net.TCPAddr)
	require.NoError(t, listener.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "zoo.cfg")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"tickTime=500\ndataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%d\nadmin.enableServer=false\n4lw.commands.whitelist=ruok\n",
		filepath.Join(dir, "data"), addr.Port), 0o644))
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(java, "-Xmx128m", "-cp", zookeeperJar, "org.apache.zookeeper.server.ZooKeeperServerMain", config)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("ZooKeeper's log:\n%s", text)
		}
	})
	require.Eventually(t, func() bool { return isZooKeeper(addr.String()) }, time.Minute, 50*time.Millisecond)
	return addr.String()
}

func isZooKeeper(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := io.WriteString(conn, "ruok"); err != nil {
		return false
	}
	answer, err := io.ReadAll(conn)
	return err == nil && string(answer) == "imok"
}
