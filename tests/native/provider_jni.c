/* The stub through which ProviderHost.java calls the library, as a JVM's own code would: by dlopen. */
#include <jni.h>

#include "caller.h"

static struct library l;

JNIEXPORT void JNICALL Java_ProviderHost_open(JNIEnv *env, jclass type, jstring path) {
    const char *text = (*env)->GetStringUTFChars(env, path, NULL);
    (void)type;
    l = open_library(text, RTLD_NOW | RTLD_GLOBAL);
    (*env)->ReleaseStringUTFChars(env, path, text);
}

JNIEXPORT jbyteArray JNICALL Java_ProviderHost_collateral(JNIEnv *env, jclass type) {
    collateral *out = NULL;
    jsize size = 0, at = 0;
    (void)type;
    if (l.sgx(fmspc, 6, "platform", &out) != 0) {
        return (*env)->NewByteArray(env, 0);
    }
    for (int i = 0; i < 7; i++) {
        size += (jsize)out->each[i].size;
    }
    jbyteArray bytes = (*env)->NewByteArray(env, size);
    for (int i = 0; i < 7 && bytes != NULL; i++) {
        (*env)->SetByteArrayRegion(env, bytes, at, (jsize)out->each[i].size,
                                   (const jbyte *)out->each[i].bytes);
        at += (jsize)out->each[i].size;
    }
    l.free_sgx(out);
    return bytes;
}
