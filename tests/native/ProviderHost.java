/** A Java host of the library: threads, the virtual machine's own signals, the JNI stub. Prints JSON. */
public final class ProviderHost {
    private static native byte[] collateral();

    private static native void open(String library);

    private static int[] nothing;
    private static final java.util.concurrent.atomic.AtomicInteger FAILED =
        new java.util.concurrent.atomic.AtomicInteger();

    /** What the virtual machine makes of a SIGSEGV: an exception, again and again, between the calls. */
    private static int caughtNulls(int times) {
        int caught = 0;
        for (int i = 0; i < times; i++) {
            try {
                caught += nothing.length;
            } catch (NullPointerException expected) {
                caught++;
            }
        }
        return caught;
    }

    public static void main(String[] words) throws Exception {
        System.load(words[0]);
        open(words[1]);
        byte[] expected = collateral();
        int caughtBefore = caughtNulls(20000);
        Thread[] threads = new Thread[4];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                for (int k = 0; k < 25; k++) {
                    if (!java.util.Arrays.equals(expected, collateral())) {
                        FAILED.incrementAndGet();
                    }
                    caughtNulls(100);
                    System.gc();
                }
            });
            threads[i].start();
        }
        for (Thread each : threads) {
            each.join();
        }
        StringBuilder hex = new StringBuilder();
        for (byte each : expected) {
            hex.append(String.format("%02x", each));
        }
        System.out.println("{\"failed\": " + FAILED.get() + ", \"caught\": "
            + (caughtBefore + caughtNulls(20000)) + ", \"collateral\": \"" + hex + "\"}");
    }
}
