package command

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
)

// checkPlaces returns an error if a file cannot be read, a port is taken or the folder cannot be written, before servers are
// started for seconds.
func checkPlaces(s *config.Settings) error {
	cfg := s.Config
	files := cfg.Files()
	files["recording"], files["ca-file"] = cfg.Recording, cfg.CAFile
	for setting, path := range files {
		if path == "" {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.Place(setting), path, cause(err))
		}
		_ = file.Close() // it can be read, which is all
	}
	for _, port := range []struct{ setting, addr string }{
		{"health-listen", cfg.HealthListen}, {"page-listen", cfg.PageListen}, {"clickhouse-listen", cfg.ClickHouseListen},
	} {
		if port.addr == "" || s.Origin(port.setting) == config.FromDefault {
			continue
		}
		listener, err := net.Listen("tcp", port.addr)
		if err != nil {
			return fmt.Errorf("%s %s: %w (give another address; port 0 is a free one)", s.Place(port.setting), port.addr, cause(err))
		}
		defer listener.Close() // when all were found free, so that no two are the same
	}
	if err := checkUnused(s); err != nil {
		return err
	}
	return makeFolder(s.Place("data"), cfg.Data)
}

// checkUnused returns an error if another process runs servers on the folder, which would otherwise be waited for.
func checkUnused(s *config.Settings) error {
	folder := s.Config.Data
	if folder != "" && engines.InUse(folder) {
		return fmt.Errorf("%s %s: a run uses this folder now; end it first, or give another folder", s.Place("data"), folder)
	}
	return nil
}

// makeFolder makes a folder unless it exists, and returns an error if no file can be made in it. "" is none.
func makeFolder(setting, folder string) error {
	if folder == "" {
		return nil
	}
	if info, err := os.Stat(folder); err == nil && !info.IsDir() {
		return wantValue(setting, folder, "a folder, not a file")
	}
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		var file *os.File
		if file, err = os.CreateTemp(folder, ".writable-"); err == nil {
			err = errors.Join(file.Close(), os.Remove(file.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", setting, folder, cause(err))
	}
	return nil
}

// cause returns the reason that the system gave for an error, without what the program did.
func cause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
