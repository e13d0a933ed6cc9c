package engines

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/natsbus/signature"
)

// BusOptions returns the options of a connection to NATS. The client reads credentials, certificates and authorities from
// their files for each connection that it makes; of an NKey it keeps which one it is.
func BusOptions(a config.Access) ([]nats.Option, error) {
	var options []nats.Option
	if a.NATSCredentials != "" {
		options = append(options, nats.UserCredentials(a.NATSCredentials))
	}
	if a.NATSNKey != "" {
		option, err := nats.NkeyOptionFromSeed(a.NATSNKey)
		if err != nil {
			return nil, fmt.Errorf("nats-nkey %s: want the seed of a user: %w", a.NATSNKey, err)
		}
		options = append(options, option)
	}
	if a.NATSCA != "" {
		options = append(options, nats.RootCAs(a.NATSCA))
	}
	if a.NATSCert != "" {
		options = append(options, nats.ClientCert(a.NATSCert, a.NATSKey))
	}
	if a.NATSInbox != "" {
		options = append(options, nats.CustomInboxPrefix(a.NATSInbox))
	}
	return options, nil
}

// trusting returns the TLS configuration that trusts the authorities in a file, besides those of the system.
func trusting(file string) (*tls.Config, error) {
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("clickhouse-ca: %s has no certificate in PEM", file)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// KeyName returns the name of a public key in signatures: the first 16 digits of its SHA-256.
func KeyName(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// Signer returns the signer of the private key in a file of PEM, as openssl genpkey -algorithm ed25519 writes it; nil for no file.
func Signer(file string) (*signature.Signer, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil && block.Type == "PRIVATE KEY" {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := parsed.(ed25519.PrivateKey); err == nil && ok {
			return signature.NewSigner(KeyName(key.Public().(ed25519.PublicKey)), key)
		}
	}
	return nil, fmt.Errorf("sign-key: %s has no private ed25519 key in PEM; openssl genpkey -algorithm ed25519 makes one", file)
}

// Verifier returns the verifier of the public keys in a file of PEM, as openssl pkey -pubout writes them; nil for no file.
func Verifier(file string) (*signature.Verifier, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, err
	}
	keys := make(map[string]ed25519.PublicKey)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("trusted-keys: %s: %.40q is not a public ed25519 key", file, block.Type)
		}
		keys[KeyName(key)] = key
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("trusted-keys: %s has no public key in PEM", file)
	}
	return signature.NewVerifier(keys)
}
