package signature_test

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/natsbus/signature"
)

func keys(t testing.TB, seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(seed), ed25519.SeedSize)))
	return private.Public().(ed25519.PublicKey), private
}

func pair(t testing.TB) (*signature.Signer, *signature.Verifier) {
	t.Helper()
	public, private := keys(t, 'a')
	s, err := signature.NewSigner("tokyo-1", private)
	require.NoError(t, err)
	v, err := signature.NewVerifier(map[string]ed25519.PublicKey{"tokyo-1": public})
	require.NoError(t, err)
	return s, v
}

func TestVerify(t *testing.T) {
	s, v := pair(t)
	const subject, id = "md.binance.spot.depth.BTCUSDT", "binance:spot:depth:BTCUSDT:1-2@x"
	body := []byte(`{"v":1}`)
	good := s.Sign(subject, id, body)
	require.NoError(t, v.Verify(subject, id, body, good))
	_, stranger := keys(t, 'b')
	other, err := signature.NewSigner("tokyo-1", stranger)
	require.NoError(t, err)
	unknown, err := signature.NewSigner("osaka", stranger)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		subject, id, body, value string
		err                      error
	}{
		"no signature":         {subject, id, string(body), "", signature.ErrMissing},
		"no colon":             {subject, id, string(body), strings.ReplaceAll(good, ":", ""), signature.ErrMalformed},
		"cut":                  {subject, id, string(body), good[:len(good)-4], signature.ErrMalformed},
		"another subject":      {"md.binance.spot.depth.ETHUSDT", id, string(body), good, signature.ErrWrong},
		"another id":           {subject, id + "1", string(body), good, signature.ErrWrong},
		"another body":         {subject, id, `{"v":2}`, good, signature.ErrWrong},
		"a shifted border":     {subject + "\n" + id, "", string(body), good, signature.ErrWrong},
		"another's signature":  {subject, id, string(body), other.Sign(subject, id, body), signature.ErrWrong},
		"an unknown publisher": {subject, id, string(body), unknown.Sign(subject, id, body), signature.ErrUnknownKey},
	} {
		err := v.Verify(c.subject, c.id, []byte(c.body), c.value)
		require.ErrorIs(t, err, c.err, name)
	}
}

func TestKeys(t *testing.T) {
	public, private := keys(t, 'a')
	for _, name := range []string{"", "a b", "a:b", "ä", strings.Repeat("a", 65)} {
		_, err := signature.NewSigner(name, private)
		require.Error(t, err, name)
		_, err = signature.NewVerifier(map[string]ed25519.PublicKey{name: public})
		require.Error(t, err, name)
	}
	_, err := signature.NewSigner("a", private[:63])
	require.ErrorContains(t, err, "63 bytes")
	_, err = signature.NewVerifier(map[string]ed25519.PublicKey{"a": public[1:]})
	require.Error(t, err)
	_, err = signature.NewVerifier(nil)
	require.Error(t, err)
}

func BenchmarkSign(b *testing.B) {
	s, _ := pair(b)
	body := make([]byte, 1200)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign("md.binance.spot.depth.BTCUSDT", "binance:spot:depth:BTCUSDT:12345678-12345699@1y2p0ij", body)
	}
}

func BenchmarkVerify(b *testing.B) {
	s, v := pair(b)
	body := make([]byte, 1200)
	value := s.Sign("md.binance.spot.depth.BTCUSDT", "id", body)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify("md.binance.spot.depth.BTCUSDT", "id", body, value); err != nil {
			b.Fatal(err)
		}
	}
}
