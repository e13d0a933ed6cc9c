package engines

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
)

// ErrNoArchive means that no ClickHouse is configured.
var ErrNoArchive = errors.New("no ClickHouse: give --clickhouse HOST:9000, or --data FOLDER of an earlier run")

// An Embedded says where embedded servers run. They let in this program alone, by secrets that they make.
type Embedded struct {
	Dir string // "" means that there is none

	// Temporary says that the folder is removed with the servers, so that they need not end in order.
	Temporary bool

	// Analysts is host:port of ClickHouse's native protocol for the user Analyst, who may read the archive. "" means a free
	// port at 127.0.0.1 and no such user.
	Analysts string
}

// Analyst is the user whom Embedded.Analysts lets in.
const Analyst = "analyst"

// An Archive is a store in ClickHouse, with the server if that is embedded.
type Archive struct {
	Store *chstore.Store
	Addr  string // of an embedded server, else ""

	// Analysts says how analysts get in, and has the password if this call has made it. "" means that they do not.
	Analysts string

	close     func() error
	server    *chserver.Server // nil unless it is embedded
	temporary bool
}

// OpenArchive connects to the ClickHouse at addr, or starts one if addr is empty. It does not change tables. authority is a
// PEM file of authorities to trust besides the system's; "" or none means the system's, where the address asks for TLS.
func OpenArchive(ctx context.Context, addr string, embedded Embedded, cfg chstore.Config, authority ...string) (*Archive, error) {
	a := &Archive{close: func() error { return nil }, temporary: embedded.Temporary}
	if addr == "" {
		if embedded.Dir == "" {
			return nil, ErrNoArchive
		}
		if err := a.start(ctx, embedded, cfg.Database); err != nil {
			return nil, fmt.Errorf("embedded ClickHouse: %w", err)
		}
		a.Addr, addr, authority = a.server.Addr(), a.server.DSN(), nil // it has no TLS
	}
	conn, err := dial(ctx, addr, strings.Join(authority, ""))
	if err == nil {
		a.close = conn.Close
		a.Store, err = chstore.New(conn, cfg)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// dial is chstore.Dial, with TLS if there is a file of authorities.
func dial(ctx context.Context, addr, authority string) (*chstore.Conn, error) {
	if authority == "" {
		return chstore.Dial(ctx, addr)
	}
	if !strings.Contains(addr, "://") {
		addr = "clickhouse://" + addr
	}
	options, err := clickhouse.ParseDSN(addr)
	if err != nil {
		return nil, errors.New("clickhouse: want HOST:PORT or clickhouse://USER:PASSWORD@HOST:PORT") // err may have the password
	}
	options.Auth.Database = "" // as in chstore.Dial
	if options.TLS, err = trusting(authority); err != nil {
		return nil, err
	}
	conn, err := chstore.NewConn(options)
	if err != nil {
		return nil, err
	}
	if err := conn.Ping(ctx); err != nil {
		return nil, errors.Join(&chstore.ConnectError{Addr: strings.Join(options.Addr, ","), Err: err}, conn.Close())
	}
	return conn, nil
}

func (a *Archive) start(ctx context.Context, embedded Embedded, database string) error {
	cfg := chserver.Config{Dir: clickhouseDir(embedded.Dir)}
	var password, file string
	if embedded.Analysts != "" {
		host, port, err := net.SplitHostPort(embedded.Analysts)
		if err == nil {
			cfg.TCPPort, err = strconv.Atoi(port)
		}
		if err != nil {
			return fmt.Errorf("--clickhouse-listen %s: %w", embedded.Analysts, err)
		}
		reader := chserver.Reader{Name: Analyst, Database: database}
		file = filepath.Join(embedded.Dir, "analyst.sha256")
		if reader.PasswordSHA256, password, err = analystPassword(file); err != nil {
			return err
		}
		cfg.Host, cfg.Readers = host, []chserver.Reader{reader}
	}
	var err error
	a.server, err = chserver.Start(ctx, cfg)
	switch {
	case err != nil || embedded.Analysts == "":
	case password != "":
		a.Analysts = fmt.Sprintf("clickhouse://%s:%s@%s/%s (shown this once; %s has its hash)", Analyst, password, a.server.Addr(), database, file)
	default:
		a.Analysts = fmt.Sprintf("clickhouse://%s@%s/%s (the password was shown when %s was made; remove that for a new one)", Analyst, a.server.Addr(), database, file)
	}
	return err
}

// analystPassword returns the hash in a file. If there is none it makes a password and the file.
func analystPassword(file string) (hash [sha256.Size]byte, password string, err error) {
	text, err := os.ReadFile(file) // #nosec G304 -- the folder is a setting
	if err == nil {
		if n, err := hex.Decode(hash[:], []byte(strings.TrimSpace(string(text)))); err != nil || n != len(hash) {
			return hash, "", fmt.Errorf("%s is not the hash of a password; remove it for a new one", file)
		}
		return hash, "", nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return hash, "", err
	}
	password = rand.Text()
	hash = sha256.Sum256([]byte(password))
	if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
		err = os.WriteFile(file, []byte(hex.EncodeToString(hash[:])+"\n"), 0o600)
	}
	return hash, password, err
}

// HasArchive reports whether an embedded ClickHouse has run on a folder.
func HasArchive(dir string) bool {
	info, err := os.Stat(clickhouseDir(dir))
	return err == nil && info.IsDir()
}

func clickhouseDir(dir string) string { return filepath.Join(dir, "clickhouse") }

// Close closes the connection and an embedded server.
func (a *Archive) Close() error {
	err := a.close()
	if a.server == nil {
		return err
	}
	if a.temporary {
		a.Crash()
	}
	return errors.Join(err, a.server.Close())
}

// Crash ends an embedded server at once. It is safe for concurrent use.
func (a *Archive) Crash() {
	if a.server != nil {
		a.server.Crash()
	}
}
